package printable

import "testing"

func TestText(t *testing.T) {
	for in, want := range map[string]string{
		"": "", "grün\tx": "grün\tx", "\x1b[31mred": `\x1b[31mred`, "a\nb": `a\nb`, "\u009b2J": `\u009b2J`, "\u202egpj": `\u202egpj`, "\xff\xfe": `\xff\xfe`, "\u2028": `\u2028`,
	} {
		if got := Text(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}
