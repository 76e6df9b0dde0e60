package store

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"filippo.io/age"
	"github.com/google/renameio/v2"

	"slipway/config"
)

// identityPath is the age identity that the secrets are encrypted to.
func (s *Store) identityPath() string { return filepath.Join(s.dir, "keys", "age") }

// openIdentity reads keys/age, or makes it for a database that has no secret
// yet. The database knows its public half, so that a wrong file is noticed
// here and not at the next deploy.
func (s *Store) openIdentity(ctx context.Context) error {
	known, secrets, err := s.recipient(ctx)
	if err != nil {
		return err
	}
	s.age, err = s.readIdentity()
	switch {
	case missing(err) && secrets:
		return config.Errorf(config.Failed, "put it back from a backup",
			"%s is missing, and the database holds secrets that only it can read", s.identityPath())
	case missing(err):
		if err := s.makeIdentity(); err != nil {
			return err
		}
	case err != nil:
		return err
	case known != "" && known != s.age.Recipient().String() && secrets:
		return config.Errorf(config.Failed, "put the right file back from a backup",
			"%s is not the identity that the database's secrets are encrypted to, %s", s.identityPath(), known)
	}
	if known == s.age.Recipient().String() {
		return nil
	}
	_, err = s.exec(ctx, "INSERT OR REPLACE INTO meta VALUES ('recipient', ?)", s.age.Recipient().String())
	return err
}

// recipient is whom the secrets are encrypted to, and whether there are any.
func (s *Store) recipient(ctx context.Context) (known string, secrets bool, err error) {
	err = s.view(ctx, func(tx *sql.Tx) error {
		err := tx.QueryRowContext(ctx, "SELECT value FROM meta WHERE name = 'recipient'").Scan(&known)
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		return tx.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM releases)
			OR EXISTS (SELECT 1 FROM vars) OR EXISTS (SELECT 1 FROM services)`).Scan(&secrets)
	})
	return known, secrets, err
}

func (s *Store) readIdentity() (*age.X25519Identity, error) {
	path := s.identityPath()
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read the key of the secrets: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, config.Errorf(config.Failed, "chmod 600 "+path,
			"%s may be read by others (mode %04o)", path, info.Mode().Perm())
	}
	// The parser's error is left out: it may quote the line that it stumbled on.
	if all, err := age.ParseIdentities(io.LimitReader(f, 64<<10)); err == nil && len(all) == 1 {
		if id, ok := all[0].(*age.X25519Identity); ok {
			return id, nil
		}
	}
	return nil, config.Errorf(config.Failed, "put the right file back from a backup", "%s is no age identity", path)
}

func (s *Store) makeIdentity() (err error) {
	path := s.identityPath()
	if s.age, err = age.GenerateX25519Identity(); err != nil {
		return err
	}
	dir := filepath.Dir(path)
	if err := makeDirs(s.dir, dir); err != nil {
		return s.notWritable(dir, err)
	}
	err = renameio.WriteFile(path, []byte(s.age.String()+"\n"), 0o600, renameio.WithTempDir(dir))
	if err != nil {
		return s.notWritable(path, err)
	}
	return syncDir(dir)
}

func (s *Store) seal(plain []byte) ([]byte, error) {
	var out bytes.Buffer
	w, err := age.Encrypt(&out, s.age.Recipient())
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(plain); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

func (s *Store) unseal(sealed []byte) ([]byte, error) {
	r, err := age.Decrypt(bytes.NewReader(sealed), s.age)
	if err != nil {
		return nil, fmt.Errorf("decrypt a secret with keys/age: %w", err)
	}
	return io.ReadAll(r)
}

// sealVars encrypts a set of vars as one; values are kept as bytes, so that
// any value comes back as it was.
func (s *Store) sealVars(vars map[string]config.Secret) ([]byte, error) {
	plain := make(map[string][]byte, len(vars))
	for name, v := range vars {
		plain[name] = []byte(v.Reveal())
	}
	b, err := json.Marshal(plain)
	if err != nil {
		return nil, err
	}
	return s.seal(b)
}

func (s *Store) unsealVars(sealed []byte) (map[string]config.Secret, error) {
	b, err := s.unseal(sealed)
	if err != nil {
		return nil, err
	}
	var plain map[string][]byte
	if err := json.Unmarshal(b, &plain); err != nil {
		return nil, errors.New("read decrypted vars: they are no JSON object of strings")
	}
	vars := make(map[string]config.Secret, len(plain))
	for name, v := range plain {
		vars[name] = config.NewSecret(string(v))
	}
	return vars, nil
}
