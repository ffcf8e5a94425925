// Package signature verifies the signatures that package trust asks for, and reads the keys that they are checked with.
//
// It knows cosign's signatures by key, in both their forms, and OpenPGP's detached signatures. It never talks to a network
// (whoever fetches hands it a Source), and never asks a key server, certificate or transparency log.
//
// Invariant: a signature counts only if one of the prefix's keys made it over exactly the digest that is asked about and,
// where the payload has a name, over exactly the name that is asked for.
package signature
