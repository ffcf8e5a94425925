// Package craft makes what honest tools would not write: tars with headers that lie, manifests that can be read in two
// ways, registries that break off, send too much, or send somebody else's bytes.
//
// It knows the formats down to their bytes, and for each piece which attack it is and whom it hit before. It never
// looks at gantry: the tests of image/layer, image/fetch and the suite tests/hostile say what must become of a piece.
// Invariant: the same call gives the same bytes.
package craft
