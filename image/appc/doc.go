// Package appc is what appc says of images and apps (spec 0.8: aci.md, types.md), in Go's types and in OCI's words.
//
// It knows manifests, the labels (Label…) under which what OCI has no word for is kept in an image's configuration, as JSON, and
// what of both is valid. It never sees an archive: package aci takes those in, with the decompressors that this needs. Nothing that an
// image says in its labels may ever loosen what the user said.
package appc
