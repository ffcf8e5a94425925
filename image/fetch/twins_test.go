package fetch

import (
	"errors"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/gantryrun/gantry/image"
	"github.com/gantryrun/gantry/image/order"
)

// TestTwins: two blobs that the config calls one layer are one, whatever their compression; or the image is refused.
func TestTwins(t *testing.T) {
	reg := newRegistry(t)
	plain, other := tarOf(t, "a", "a"), tarOf(t, "b", "b")
	good := newImage(t, gzLayer(t, "a", "a"), newLayer(zst(t, plain), plain, types.OCILayerZStd))
	evil := newImage(t, gzLayer(t, "a", "a"), newLayer(gz(t, other), plain, types.OCILayer))
	for _, keep := range []bool{false, true} {
		c := newClient(t)
		if _, err := c.Fetch(t.Context(), reg.push(t, "evil:v1", evil), order.Options{KeepBlobs: keep}); !errors.Is(err, image.ErrVerify) {
			t.Errorf("another layer by the same name: %v", err)
		}
		wantEmpty(t, c.Store)
		img, err := c.Fetch(t.Context(), reg.push(t, "good:v1", good), order.Options{KeepBlobs: keep})
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range img.Manifest.Layers {
			if there, err := c.Store.HasBlob(l.Digest); err != nil || there != keep {
				t.Errorf("blob %s is kept: %v, %v", l.Digest, there, err)
			}
		}
	}
}
