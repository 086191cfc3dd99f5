import { load, walk } from "./medplum.mjs";

walk(4, await load("medplum-core-4"), { graceful: false, renews: false });
