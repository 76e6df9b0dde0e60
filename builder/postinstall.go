package builder

import (
	"bytes"
	"fmt"

	"slipway/config"
)

// CheckPostinstall refuses a postinstall that could not run: path is where it is
// in the tree, mode git's spelling of its mode, head its first bytes.
func CheckPostinstall(path, mode string, head []byte) error {
	shown := ascii(path)
	line, _, _ := bytes.Cut(head, []byte("\n"))
	switch {
	case mode == "120000":
		return nil // a link: what it leads to is found when it runs
	case mode != "100755" && mode != "100644":
		return &config.Error{
			Kind: config.Usage, Err: fmt.Errorf("%s is no file", shown),
			Hint: "name another command: [build] postinstall in slipway.toml",
		}
	case mode != "100755":
		return &config.Error{
			Kind: config.Usage, Err: fmt.Errorf("%s is not executable", shown),
			Hint: "git update-index --chmod=+x " + shown + ", commit, push again",
		}
	case bytes.HasSuffix(line, []byte("\r")):
		return &config.Error{
			Kind: config.Usage, Err: fmt.Errorf("the first line of %s ends in CR, so it names no interpreter", shown),
			Hint: `sed -i 's/\r$//' ` + shown + ", commit, push again",
		}
	}
	if !bytes.HasPrefix(head, []byte("#!")) && !bytes.HasPrefix(head, []byte("\x7fELF")) {
		return &config.Error{
			Kind: config.Usage, Err: fmt.Errorf("the first line of %s names no interpreter", shown),
			Hint: `sed -i '1i #!/bin/sh' ` + shown + ", commit, push again",
		}
	}
	return nil
}
