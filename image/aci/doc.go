// Package aci takes appc images in and makes OCI images of them.
//
// It knows the appc image format (spec 0.8: aci.md, discovery.md): archives, the names and templates of discovery. It never opens a
// connection (whoever fetches hands it a Getter), never runs a program to decompress, and never writes but to the file
// that it is given.
//
// Invariant: what comes out is a layer with the files below rootfs/ of the archive, the prefix gone and nothing else
// added, and a configuration that says what the image manifest says (package appc).
package aci
