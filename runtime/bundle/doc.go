// Package bundle turns what was asked of an app and what its image says into the app's OCI runtime configuration:
// the template that stage1 completes with a root and namespaces.
//
// It is pure: it reads no file and asks no kernel (but for the release that the seccomp profile depends on); passwd,
// group and device numbers are handed in. It never loosens what the user said because of what the image says: an
// image decides its program, its environment, its user and where its volumes are, and nothing else.
package bundle
