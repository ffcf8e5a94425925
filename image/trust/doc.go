// Package trust decides which images may be used.
//
// It knows trust.d (rules by name), trustedkeys (public keys by prefix of names), and what was verified of an image when it
// was fetched. It never looks into a key or at a signature: that is package signature's, and everybody who runs an image
// asks here. It never believes a name that an image has for itself.
//
// Invariants: a name that can be read in two ways is rejected; of the prefixes that match a name by whole components
// the longest decides, alone.
package trust
