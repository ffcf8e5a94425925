// Package isolator knows the isolators of appc (spec 0.8, ace.md): what they say, and what of an app they change.
//
// It never touches anything but the values that it is given. Its invariant: what an image's isolators do to an app takes away from
// what its user asked for and from the defaults; only a pod manifest, which is the user's own word, may add to them.
package isolator
