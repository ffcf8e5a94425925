package bundle

import "testing"

// Apps whose names begin alike do not share the volumes of their images.
func TestClipName(t *testing.T) {
	one, two := clipName("elasticsearch-master-0"), clipName("elasticsearch-master-1")
	if one == two || len(one) > 20 || clipName("web") != "web" {
		t.Errorf("%q, %q", one, two)
	}
}
