/** The variable that holds a viewer's settings as JSON; a process that has it is a viewer's. */
export const VIEWER_VARIABLE = "KATA_TRACE_FORWARDER_INTERNAL_VIEWER";
