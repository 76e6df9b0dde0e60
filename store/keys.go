package store

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"time"

	"slipway/config"
)

// Key is one public key that may call, or a name without one, for which
// certificates call alone.
type Key struct {
	Name        string
	Type        string // ssh-ed25519, or PrincipalType
	Blob        []byte // wire form
	Fingerprint string // SHA256:...; "" without a public key
	Comment     string
	Admin       bool
	Allow       []config.Glob
	Created     time.Time
}

// PrincipalType is the type of a Key that has no public key.
const PrincipalType = "principal"

// Principal makes a Key that has no public key. What stands for its wire form
// can be none, as those begin with the length of a word.
func Principal(name string) Key {
	return Key{Name: name, Type: PrincipalType, Blob: []byte("principal " + name)}
}

const keyColumns = "SELECT name, type, blob, fingerprint, comment, admin, allow, created FROM keys "

func scanKey(scan scanner) (k Key, err error) {
	var allow, created string
	if err := scan(&k.Name, &k.Type, &k.Blob, &k.Fingerprint, &k.Comment, &k.Admin, &allow, &created); err != nil {
		return k, err
	}
	if err := json.Unmarshal([]byte(allow), &k.Allow); err != nil {
		return k, err
	}
	k.Created, err = parseStamp(created)
	return k, err
}

// AddKey adds k. The same key under the same name updates its rights; the same
// key under another name, or another key under the same name, is a Usage error.
func (s *Store) AddKey(ctx context.Context, k Key) (added bool, err error) {
	if k.Allow == nil {
		k.Allow = []config.Glob{}
	}
	allow, err := toJSON(k.Allow)
	if err != nil {
		return false, err
	}
	err = s.write(ctx, func(tx *sql.Tx) error {
		var name string
		var blob []byte
		err := tx.QueryRowContext(ctx, "SELECT name, blob FROM keys WHERE name = ? OR blob = ?", k.Name, k.Blob).Scan(&name, &blob)
		switch {
		case errors.Is(err, sql.ErrNoRows):
			added = true
			_, err := tx.ExecContext(ctx, "INSERT INTO keys VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
				k.Name, k.Type, k.Blob, k.Fingerprint, k.Comment, k.Admin, allow, stamp(s.now()))
			return err
		case err != nil:
			return err
		case name != k.Name:
			return config.Errorf(config.Usage, "key remove "+name+" takes it away there", "this key is there already, as %s", name)
		case !bytes.Equal(blob, k.Blob):
			return config.Errorf(config.Usage, "key remove "+name+", or choose another name", "there is another key with the name %s", name)
		}
		_, err = tx.ExecContext(ctx, "UPDATE keys SET admin = ?, allow = ? WHERE name = ?", k.Admin, allow, k.Name)
		return err
	})
	return added && err == nil, err
}

// Keys lists every key by name.
func (s *Store) Keys(ctx context.Context) ([]Key, error) {
	return read(ctx, s, scanKey, keyColumns+"ORDER BY name")
}

// RemoveKey removes a key and returns it; NotFound if there is none.
func (s *Store) RemoveKey(ctx context.Context, name string) (k Key, err error) {
	err = s.write(ctx, func(tx *sql.Tx) error {
		found, err := one(list(ctx, tx, scanKey, keyColumns+"WHERE name = ?", name))
		if err != nil {
			return err
		}
		if found == nil {
			return config.Errorf(config.NotFound, "key list", "there is no key %q", name)
		}
		k = *found
		_, err = tx.ExecContext(ctx, "DELETE FROM keys WHERE name = ?", name)
		return err
	})
	return k, err
}

// KeyByBlob returns nil, nil if there is no such key.
func (s *Store) KeyByBlob(ctx context.Context, blob []byte) (*Key, error) {
	return one(read(ctx, s, scanKey, keyColumns+"WHERE blob = ?", blob))
}

// KeyByName returns nil, nil if there is no such key.
func (s *Store) KeyByName(ctx context.Context, name string) (*Key, error) {
	return one(read(ctx, s, scanKey, keyColumns+"WHERE name = ?", name))
}
