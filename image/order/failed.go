package order

import (
	"context"
	"errors"
	"io/fs"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/gantryrun/gantry/image"
	"github.com/gantryrun/gantry/image/appc"
	"github.com/gantryrun/gantry/image/trust"
)

// failed is an error of gantry-fetch: its words, and which of the errors that callers branch on it is.
type failed struct {
	Text  string   `json:"text"`
	Kinds []string `json:"kinds,omitempty"`
}

func (f *failed) Error() string { return f.Text }

// Is makes errors.Is say of f what it said of the error where that was made.
func (f *failed) Is(target error) bool {
	return slices.ContainsFunc(f.Kinds, func(name string) bool { return names[name] == target })
}

// names of the errors that callers branch on.
var names = map[string]error{
	"canceled": context.Canceled, "deadline": context.DeadlineExceeded,
	"no-space": unix.ENOSPC, "quota": unix.EDQUOT, "permission": fs.ErrPermission,
	"bad-reference": image.ErrBadRef, "not-found": image.ErrNotFound, "ambiguous": image.ErrAmbiguous, "corrupt": image.ErrCorrupt,
	"rollback": image.ErrRollback, "backend": image.ErrBackend,
	"verify": image.ErrVerify, "manifest": image.ErrManifest, "limit": image.ErrLimit, "platform": image.ErrPlatform,
	"unsupported": image.ErrUnsupported, "config": image.ErrConfig, "blocked": image.ErrBlocked,
	"unreachable": image.ErrUnreachable, "stalled": image.ErrStalled, "denied": image.ErrDenied,
	"appc": appc.ErrInvalid, "appc-not-found": appc.ErrNotFound,
	"untrusted": trust.ErrUntrusted, "trust-config": trust.ErrConfig, "key": trust.ErrKey,
}

// failure is err, to be sent.
func failure(err error) *failed {
	f := &failed{Text: err.Error()}
	for name, target := range names {
		if errors.Is(err, target) {
			f.Kinds = append(f.Kinds, name)
		}
	}
	slices.Sort(f.Kinds)
	return f
}
