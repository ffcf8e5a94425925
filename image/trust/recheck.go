package trust

import (
	"fmt"

	"github.com/gantryrun/gantry/image"
)

// Recheck says whether an image in the store may be used under that name today: with the rules and keys of now, and
// what was verified when it was fetched. It reads no key, only which are trusted.
func (p *Policy) Recheck(name string, evidence image.Evidence) error {
	d := p.For(name)
	if err := d.Refusal(name); err != nil || d.Require == Digest {
		return err
	}
	switch {
	case evidence.Format == "":
		return fmt.Errorf("%w: %s has to be signed (rule for %s), and was fetched without verification: fetch it again", ErrUntrusted, called(name), d.Rule)
	case p.keys[d.scope][evidence.Key] == "":
		return fmt.Errorf("%w: %s is signed by key %s, which is not trusted for it (any more)", ErrUntrusted, called(name), evidence.Key)
	}
	return nil
}
