package builder

import (
	"strings"
	"testing"

	"slipway/config"
)

func TestCheckPostinstall(t *testing.T) {
	for _, c := range []struct{ name, mode, head, err, hint string }{
		{"script", "100755", "#!/bin/sh\necho\n", "", ""},
		{"one line without an end", "100755", "#!/bin/sh", "", ""},
		{"program", "100755", "\x7fELF\x02\x01", "", ""},
		{"CR further down", "100755", "#!/bin/sh\necho\r\n", "", ""},
		{"link", "120000", "scripts/setup", "", ""},
		{"B86 not executable", "100644", "#!/bin/sh\n", "not executable", "git update-index --chmod=+x postinstall"},
		{"CR", "100755", "#!/bin/sh\r\necho\r\n", "ends in CR", `sed -i 's/\r$//' postinstall`},
		{"no interpreter", "100755", "echo\n", "names no interpreter", "#!/bin/sh"},
		{"empty", "100755", "", "names no interpreter", "#!/bin/sh"},
		{"submodule", "160000", "", "no file", "slipway.toml"},
	} {
		err := CheckPostinstall("postinstall", c.mode, []byte(c.head))
		if (err == nil) != (c.err == "") || err != nil && (!strings.Contains(err.Error(), c.err) || !strings.Contains(config.Hint(err), c.hint)) {
			t.Errorf("%s: %v (hint: %s)", c.name, err, config.Hint(err))
		}
	}
}
