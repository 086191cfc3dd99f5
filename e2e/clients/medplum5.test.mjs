import { load, walk } from "./medplum.mjs";

walk(5, await load("@medplum/core"), { graceful: true, renews: true });
