import { testCrashes } from "./support/crashes.ts";

testCrashes("killed", 60);
testCrashes("without power", 60);
