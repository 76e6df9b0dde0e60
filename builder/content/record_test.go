package content

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// oneRecord is one as a writer makes it, to stand at off.
func oneRecord(k key, content []byte, off int64) []byte {
	b := newHeader(k, int64(len(content)), off).encode()
	b = append(b, content...)
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(content, crcTable()))
}

func TestScan(t *testing.T) {
	var pack []byte
	var want []key
	var ends []int64
	for i, n := range []int{0, 1, 5000, shareFrom, 200_000, 3} {
		k := key{ID{byte(i + 1)}, i%2 == 0}
		pack = append(pack, oneRecord(k, []byte(noise(uint64(i), n)), int64(len(pack)))...)
		want, ends = append(want, k), append(ends, int64(len(pack)))
	}
	for _, check := range []bool{false, true} {
		var got []key
		end, rest, err := scan(bytes.NewReader(pack), 0, int64(len(pack)), check, func(f found) { got = append(got, f.key) })
		if err != nil || rest != nil || end != int64(len(pack)) {
			t.Fatal(end, rest, err)
		}
		if d := cmp.Diff(want, got, cmp.AllowUnexported(key{})); d != "" {
			t.Error(d)
		}
		// Cut in the fifth: four are whole, and its beginning is known.
		size := ends[3] + headerSize + block + 1000
		end, rest, err = scan(bytes.NewReader(pack), 0, size, check, func(found) {})
		if err != nil || end != ends[3] || rest == nil || rest.key != want[4] || rest.have != size-rest.at {
			t.Fatal(end, rest, err)
		}
	}
	// A content that is another one shows where contents are read.
	pack[ends[1]+headerSize+100] ^= 1
	end, rest, err := scan(bytes.NewReader(pack), 0, int64(len(pack)), true, func(found) {})
	if err != nil || rest != nil || end != ends[1] {
		t.Fatal(end, rest, err)
	}
}

func FuzzScan(f *testing.F) {
	one := oneRecord(key{ID{1}, true}, []byte("content"), 0)
	f.Add(one)
	f.Add(append(bytes.Clone(one), oneRecord(key{ID{2}, false}, nil, int64(len(one)))...))
	f.Add(one[:len(one)-2])
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, check := range []bool{false, true} {
			last := int64(0)
			end, rest, err := scan(bytes.NewReader(b), 0, int64(len(b)), check, func(f found) {
				if f.at < last+headerSize || f.size < 0 || f.at+f.size+crcSize > int64(len(b)) {
					t.Fatalf("a record at %d of %d bytes, behind %d, in %d", f.at, f.size, last, len(b))
				}
				last = f.at + f.size + crcSize
			})
			if err != nil || end != last {
				t.Fatal(end, last, err)
			}
			if rest != nil && (rest.have < 0 || rest.have > rest.size || rest.at+rest.have > int64(len(b))) {
				t.Fatalf("%+v in %d", rest, len(b))
			}
		}
	})
}
