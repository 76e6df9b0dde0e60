package builder

import (
	"bytes"
	"errors"

	"slipway/config"
)

// CheckPostinstall refuses a file named postinstall that could not run: mode is
// git's spelling of its mode, head its first bytes.
func CheckPostinstall(mode string, head []byte) error {
	line, _, _ := bytes.Cut(head, []byte("\n"))
	switch {
	case mode == "120000":
		return nil // a link: what it leads to is found when it runs
	case mode != "100755" && mode != "100644":
		return &config.Error{
			Kind: config.Usage, Err: errors.New("postinstall is no file"),
			Hint: "name another command: [build] postinstall in slipway.toml",
		}
	case mode != "100755":
		return &config.Error{
			Kind: config.Usage, Err: errors.New("postinstall is not executable"),
			Hint: "git update-index --chmod=+x postinstall, commit, push again",
		}
	case bytes.HasSuffix(line, []byte("\r")):
		return &config.Error{
			Kind: config.Usage, Err: errors.New("the first line of postinstall ends in CR, so it names no interpreter"),
			Hint: `sed -i 's/\r$//' postinstall, commit, push again`,
		}
	}
	if !bytes.HasPrefix(head, []byte("#!")) && !bytes.HasPrefix(head, []byte("\x7fELF")) {
		return &config.Error{
			Kind: config.Usage, Err: errors.New("the first line of postinstall names no interpreter"),
			Hint: `sed -i '1i #!/bin/sh' postinstall, commit, push again`,
		}
	}
	return nil
}
