// Package image is the store of images: references, records, layers, and the read-only trees that pods stand on.
//
// It knows the disk layout below --dir (blobs, layers, images, refs), how a reference is written, and how an image
// becomes lower directories for overlayfs. It never talks to a network, never parses a tar (image/layer does), never
// knows what a pod is: garbage collection is handed the images to keep.
//
// Invariant: what a record names is whole. Layers, tree and documents are verified and on disk before the record that
// names them, and both record and name when Commit returns; whatever a crash leaves in between is swept by GC.
//
//	blobs/sha256/<hex>            manifests and configs as fetched; compressed layers where they were asked to be kept
//	layers/<diffID>/{tar,index}   a layer of a registry, uncompressed, and its own index
//	images/<chainID>/{index,fs}   what the layers add up to: an EROFS index over the tars, or the tree unpacked
//	refs/images/<hex>             the record of an image: its manifest and config, ready to use
//	refs/names/<escaped name>     name -> manifest digest, with when, from where and verified by what
//	{layers,images}/.new-*        being made, locked by the maker     .trash-*  being deleted
//	images/<chainID>/.trash-*     an unpacked tree that was replaced, for pods that stand on it
//	images/.lock                  shared: somebody uses what is there; exclusive: GC decides
package image
