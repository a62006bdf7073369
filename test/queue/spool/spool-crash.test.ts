import { testCrashes } from "./support/crashes.ts";

testCrashes("killed", 3);
testCrashes("without power", 3);
