package config

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

// maxFileBytes bounds each file that server.toml names.
const maxFileBytes = 4 << 20

// A fileCheck says what is wrong with a file that a setting names, and what to
// do; text "" if nothing is.
type fileCheck func(path string, data []byte, mode fs.FileMode) (text, hint string)

// file takes a path, relative to DIR or absolute, of a file that is there and
// passes the check. It is "" if the key is not there or the file is wrong.
func (l *loader) file(t *table, key string, check fileCheck) string {
	s := t.filled(key, "keys/"+key)
	if s == "" {
		return ""
	}
	path, _, ok := l.read(t, key, s, check)
	if !ok {
		return ""
	}
	return path
}

func (l *loader) read(t *table, key, name string, check fileCheck) (path string, data []byte, ok bool) {
	path, text := l.path(name)
	if text != "" {
		t.bad(key, text, "a path below DIR, or an absolute one")
		return "", nil, false
	}
	data, mode, err := readFile(path)
	if err != nil {
		text, hint := err.Error(), ""
		if errors.Is(err, fs.ErrNotExist) {
			text, hint = "there is no "+path, "paths are relative to "+l.c.Dir
		}
		t.bad(key, printable(text), hint)
		return "", nil, false
	}
	if text, hint := check(path, data, mode); text != "" {
		t.bad(key, text, hint)
		return "", nil, false
	}
	return path, data, true
}

// path makes a path absolute; one that is relative may not leave DIR.
func (l *loader) path(name string) (path, text string) {
	if filepath.IsAbs(name) {
		return filepath.Clean(name), ""
	}
	if !filepath.IsLocal(name) {
		return "", quote(name) + " leads out of DIR"
	}
	return filepath.Join(l.c.Dir, name), ""
}

func readFile(path string) (_ []byte, mode fs.FileMode, err error) {
	info, err := os.Stat(path) // before opening, which would wait on a FIFO
	if err != nil {
		return nil, 0, err
	}
	if !info.Mode().IsRegular() {
		return nil, 0, fmt.Errorf("%s is not a regular file", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, 0, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	data, err := io.ReadAll(io.LimitReader(f, maxFileBytes+1))
	if err == nil && len(data) > maxFileBytes {
		err = fmt.Errorf("%s is larger than %d MiB", path, maxFileBytes>>20)
	}
	return data, info.Mode().Perm(), err
}

// checkMode refuses a secret that others may read.
func checkMode(path string, mode fs.FileMode) (text, hint string) {
	if mode&0o077 != 0 {
		return fmt.Sprintf("%s has mode %04o: others may read or change it", printable(path), mode), "chmod 600 " + shellWord(path)
	}
	return "", ""
}

func checkPrivateKey(path string, data []byte, mode fs.FileMode) (text, hint string) {
	name := printable(path)
	signer, err := ssh.ParsePrivateKey(data)
	var locked *ssh.PassphraseMissingError
	switch {
	case errors.As(err, &locked):
		return name + " has a passphrase, which nobody is there to type", "ssh-keygen -p -f " + shellWord(path) + "   (an empty new passphrase removes it)"
	case err != nil:
		if _, _, _, _, err := ssh.ParseAuthorizedKey(data); err == nil {
			return name + " is a public key", "name the private one beside it, without .pub"
		}
		return name + " is not an ssh private key", "ssh-keygen -t ed25519 -N '' -f " + shellWord(path)
	case signer.PublicKey().Type() == "ssh-dss":
		return name + " is a DSA key, which servers refuse", "ssh-keygen -t ed25519 -N '' -f NEWFILE"
	}
	return checkMode(path, mode)
}

func checkKnownHosts(path string, _ []byte, _ fs.FileMode) (text, hint string) {
	if _, err := knownhosts.New(path); err != nil {
		return printable(err.Error()), "lines as ssh-keyscan prints them"
	}
	return "", ""
}

func checkCA(path string, data []byte, _ fs.FileMode) (text, hint string) {
	const example = "a PEM file of certificates: -----BEGIN CERTIFICATE-----"
	found := false
	for {
		var block *pem.Block
		if block, data = pem.Decode(data); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			return fmt.Sprintf("%s has a %s in it", printable(path), printable(cut(block.Type))), example
		}
		if _, err := x509.ParseCertificate(block.Bytes); err != nil {
			return printable(path) + ": " + printable(err.Error()), example
		}
		found = true
	}
	if !found || len(bytes.TrimSpace(data)) > 0 {
		return printable(path) + " is not PEM throughout", example
	}
	return "", ""
}

// keyLine is one line of a file of public keys: a key, or what is wrong.
type keyLine struct {
	number int
	key    ssh.PublicKey
	err    error
}

// keyLines reads lines as in a .pub file; empty ones and remarks are left out.
func keyLines(data []byte) []keyLine {
	var all []keyLine
	for i, line := range strings.Split(string(data), "\n") {
		if line = strings.TrimSpace(line); line == "" || line[0] == '#' {
			continue
		}
		key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(line))
		all = append(all, keyLine{i + 1, key, err})
	}
	return all
}

// checkPublicKeys wants a file of authorities. Whoever can write to it can let
// himself in.
func checkPublicKeys(path string, data []byte, mode fs.FileMode) (text, hint string) {
	lines := keyLines(data)
	if len(lines) == 0 {
		return printable(path) + " has no key in it", "the .pub file of the CA, one key a line"
	}
	for _, l := range lines {
		where := fmt.Sprintf("%s:%d", printable(path), l.number)
		if l.err != nil {
			return where + " is not an ssh public key", "the .pub file of the CA, one key a line"
		}
		if _, ok := l.key.(*ssh.Certificate); ok {
			return where + " is a certificate, not a key", "the .pub file of the CA"
		}
		if err := CheckPublicKey(l.key); err != nil {
			return where + ": " + err.Error(), Hint(err)
		}
	}
	if mode&0o022 != 0 {
		return fmt.Sprintf("%s has mode %04o: others may change it", printable(path), mode), "chmod go-w " + shellWord(path)
	}
	return "", ""
}

// secret takes "file:PATH", "env:NAME" or, where that is allowed, the value
// itself. No mistake shows any of it but the path and the name.
func (l *loader) secret(t *table, key string, literal bool) Secret {
	s := t.filled(key, "file:keys/"+key)
	if s == "" {
		return Secret{}
	}
	hint := fmt.Sprintf("%s = %q or %q", key, "file:keys/"+key, "env:NAME")
	value := ""
	if name, ok := strings.CutPrefix(s, "file:"); ok {
		_, data, ok := l.read(t, key, name, func(path string, _ []byte, mode fs.FileMode) (string, string) {
			return checkMode(path, mode)
		})
		if !ok {
			return Secret{}
		}
		value = strings.TrimRight(string(data), "\r\n")
	} else if name, ok := strings.CutPrefix(s, "env:"); ok {
		if value, ok = os.LookupEnv(name); !ok {
			t.bad(key, "the environment of the server has no "+quote(name), "set it, or use: "+key+` = "file:keys/`+key+`"`)
			return Secret{}
		}
	} else if !literal {
		t.bad(key, "a secret itself, where the place of one is needed", hint)
		return Secret{}
	} else {
		return NewSecret(s)
	}
	switch {
	case value == "":
		t.bad(key, "the secret is empty", hint)
	case strings.ContainsFunc(value, func(r rune) bool { return r < 0x20 || r == 0x7f }):
		t.bad(key, "the secret has a control byte in it, or more than one line", hint)
	default:
		return NewSecret(value)
	}
	return Secret{}
}

// shellWord quotes a path for a command in a hint.
func shellWord(s string) string {
	s = printable(s)
	if strings.ContainsFunc(s, func(r rune) bool {
		return !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-+:,@%=", r)
	}) {
		return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
	}
	return s
}
