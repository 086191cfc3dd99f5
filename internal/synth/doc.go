// Package synth has the generators of a room. They write realistic, valid and varied
// resources at a rate, so that clients get events.
//
// A scenario tells a story about a pool of invented patients as a sequence of
// writes: one is admitted, results arrive, a task moves on, the patient is
// discharged. A [Set] owns the generators of a room. Each plays one scenario from its
// own seed, one write at a time, on the room's clock, and hands every write to a
// [Writer]. The room implements it, so a generated write takes the same path from
// store to subscription as a client's.
//
// The same scenario, seed, pool and clock give the same writes to the byte. A story
// uses a bounded set of ids (Encounter/ward-3, Task/ward-3-task): a patient who left
// comes back under them, so nothing grows however long a generator runs.
//
// The package stores nothing and reads nothing back. It knows neither topics nor
// subscriptions. A refused write is counted and reported, not repeated.
package synth
