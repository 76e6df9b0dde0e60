package service

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// SQLiteTails are what SQLite appends to a database's name for the files that
// it keeps beside it.
var SQLiteTails = []string{"-wal", "-shm", "-journal"}

// SQLiteFile is the name of a database's file below shared.
func SQLiteFile(name string) string { return name + ".sqlite3" }

// SQLiteVars are the variables of a database whose file is in dir.
func SQLiteVars(name, dir string) map[string]string {
	path := url.URL{Path: filepath.Join(dir, SQLiteFile(name))}
	return Endpoint{Name: name, URL: "sqlite:///" + path.EscapedPath(), Host: "localhost"}.Vars()
}

const pageSize = 4096

// sqliteMagic begins every database file.
const sqliteMagic = "SQLite format 3\x00"

// emptyDatabase is a database without tables whose journal mode is WAL, as
// SQLite itself writes it (file format, section 1.3).
func emptyDatabase() []byte {
	b := make([]byte, pageSize)
	copy(b, sqliteMagic)
	binary.BigEndian.PutUint16(b[16:], pageSize)
	b[18], b[19] = 2, 2                   // written and read through a write-ahead log
	b[21], b[22], b[23] = 64, 32, 32      // fixed fractions
	binary.BigEndian.PutUint32(b[24:], 1) // changes
	binary.BigEndian.PutUint32(b[28:], 1) // pages
	binary.BigEndian.PutUint32(b[44:], 4) // schema format
	binary.BigEndian.PutUint32(b[56:], 1) // UTF-8
	binary.BigEndian.PutUint32(b[92:], 1) // changes at which the count of pages was true
	binary.BigEndian.PutUint32(b[96:], 3046000)
	b[100] = 13 // the schema's table: a leaf without cells
	binary.BigEndian.PutUint16(b[105:], pageSize)
	return b
}

// MakeSQLite makes a database's file in dir where there is none, in WAL mode,
// owned by uid and gid where uid is not negative; made says that it did. One
// that is there must be a database. The account that owns dir may be hostile:
// no link is followed, and nothing of its is run or written.
func MakeSQLite(dir *os.Root, name string, uid, gid int) (made bool, err error) {
	file := SQLiteFile(name)
	switch err := checkSQLite(dir, file); {
	case err == nil:
		return false, nil
	case !errors.Is(err, fs.ErrNotExist):
		return false, err
	}
	temp := "." + file + ".new"
	if err := dir.RemoveAll(temp); err != nil {
		return false, err
	}
	f, err := dir.OpenFile(temp, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return false, err
	}
	_, err = f.Write(emptyDatabase())
	if err == nil && uid >= 0 {
		err = f.Chown(uid, gid)
	}
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return false, errors.Join(err, dir.Remove(temp))
	}
	return true, dir.Rename(temp, file)
}

// checkSQLite says whether a file looks like a database.
func checkSQLite(dir *os.Root, file string) error {
	info, err := dir.Lstat(file)
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("shared/%s is no file", file)
	}
	f, err := dir.OpenFile(file, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	head := make([]byte, len(sqliteMagic))
	n, err := io.ReadFull(f, head)
	if n == 0 && errors.Is(err, io.EOF) {
		return nil // SQLite itself begins with an empty file
	}
	if !bytes.Equal(head, []byte(sqliteMagic)) {
		return fmt.Errorf("shared/%s is no SQLite database", file)
	}
	return nil
}
