// Package hostile is the suite of hostile images, archives, registries and stores: each is made by code of ours (package
// craft), given to the gantry program that was built, and must be refused with a clear line or taken without harm, in
// bounded time, memory and disk. After each, the host and the store are as before, and the next good fetch works.
//
// It knows every row of the catalogue of attacks on fetching (F1 to F13), unpacking (U1 to U12) and trust (T1 to T7),
// and whom each attack hit before. It never talks to anything outside its box.
// Invariant: every row has a case, and there are at least 250 of them (TestHostile counts).
package hostile
