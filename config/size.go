package config

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// maxSize is the largest number of bytes that a setting may name.
const maxSize = int64(1) << 50

var sizeForm = NewPattern(`^([0-9][0-9_]*) ?([A-Za-z]*)$`)

// ParseSize reads a whole number of bytes with a unit: B, KiB to TiB (powers of
// 1024) or kB to TB (powers of 1000).
func ParseSize(s string) (int64, error) {
	bad := fmt.Errorf("%s is not a size: a whole number with B, KiB, MiB, GiB, TiB, kB, MB, GB or TB", quote(s))
	m := sizeForm.FindStringSubmatch(s)
	if m == nil {
		return 0, bad
	}
	n, err := strconv.ParseInt(strings.ReplaceAll(m[1], "_", ""), 10, 64)
	if errors.Is(err, strconv.ErrRange) {
		return 0, fmt.Errorf("%s is too large a size", quote(s))
	}
	if err != nil {
		return 0, bad
	}
	unit, ok := map[string]int64{
		"": 1, "b": 1,
		"kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30, "tib": 1 << 40,
		"kb": 1e3, "mb": 1e6, "gb": 1e9, "tb": 1e12,
	}[strings.ToLower(m[2])]
	if !ok {
		return 0, bad
	}
	if n > math.MaxInt64/unit {
		return 0, fmt.Errorf("%s is too large a size", quote(s))
	}
	return n * unit, nil
}

// formatSize writes a size as ParseSize reads it, exactly.
func formatSize(n int64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB"}
	i := 0
	for n >= 1024 && n%1024 == 0 && i < len(units)-1 {
		n, i = n/1024, i+1
	}
	return strconv.FormatInt(n, 10) + units[i]
}

// formatDuration drops the zero units that time.Duration writes: 10m, not
// 10m0s.
func formatDuration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
