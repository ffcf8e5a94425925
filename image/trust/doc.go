// Package trust decides which images may be used, and verifies the signatures that it asks for.
//
// It knows trust.d (rules by name), trustedkeys (public keys by prefix of names), cosign's signatures by key, in both
// their forms, and OpenPGP's detached signatures. It never talks to a network (whoever fetches hands it a Source),
// never asks a key server, certificate or transparency log, and never believes a name that an image has for itself.
//
// Invariants: a name that can be read in two ways is rejected; of the prefixes that match a name by whole components
// the longest decides, alone; a signature counts only if one of that prefix's keys made it over exactly the digest that
// is asked about and, where the payload has a name, over exactly the name that is asked for.
package trust
