package receiver

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"
	gossh "golang.org/x/crypto/ssh"

	"slipway/config"
)

// LoadHostKey reads the ed25519 host key at path, an OpenSSH private key that
// only its owner can read, and makes one where there is none. It is durable on
// return.
func LoadHostKey(path string) (key gossh.Signer, created bool, err error) {
	data, err := readPrivate(path)
	if errors.Is(err, fs.ErrNotExist) {
		data, err = makeHostKey(path)
		created = true
	}
	if err != nil {
		return nil, false, err
	}
	key, err = gossh.ParsePrivateKey(data)
	if missing := (*gossh.PassphraseMissingError)(nil); errors.As(err, &missing) {
		return nil, false, config.Errorf(config.Failed, "ssh-keygen -p -N '' -f "+path,
			"host key %s has a passphrase", path)
	}
	if err != nil {
		return nil, false, config.Errorf(config.Failed, "restore it from a backup, or move it away to make a new one",
			"host key %s: %w", path, err)
	}
	if t := key.PublicKey().Type(); t != gossh.KeyAlgoED25519 {
		return nil, false, config.Errorf(config.Failed, "move it away to make a new one",
			"host key %s is of type %s, not %s", path, t, gossh.KeyAlgoED25519)
	}
	return key, created, nil
}

// readPrivate reads a small file that nobody but its owner may read.
func readPrivate(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("host key: %w", err)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("host key: %w", err)
	}
	if !st.Mode().IsRegular() {
		return nil, config.Errorf(config.Failed, "", "host key %s is not a file", path)
	}
	if st.Mode().Perm()&0o077 != 0 {
		return nil, config.Errorf(config.Failed, "chmod 600 "+path,
			"host key %s can be read by others: mode %04o", path, st.Mode().Perm())
	}
	if st.Size() > 64<<10 {
		return nil, config.Errorf(config.Failed, "", "host key %s is larger than a key", path)
	}
	data := make([]byte, st.Size())
	if _, err := f.ReadAt(data, 0); err != nil {
		return nil, fmt.Errorf("host key: %w", err)
	}
	return data, nil
}

func makeHostKey(path string) ([]byte, error) {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make host key: %w", err)
	}
	block, err := gossh.MarshalPrivateKey(private, "slipway host key")
	if err != nil {
		return nil, fmt.Errorf("make host key: %w", err)
	}
	data := pem.EncodeToMemory(block)
	if err := renameio.WriteFile(path, data, 0o600, renameio.WithStaticPermissions(0o600)); err != nil {
		return nil, fmt.Errorf("make host key: %w", err)
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return nil, fmt.Errorf("make host key: %w", err)
	}
	if err := errors.Join(dir.Sync(), dir.Close()); err != nil {
		return nil, fmt.Errorf("make host key: %w", err)
	}
	return data, nil
}
