package main

import (
	"context"
	"slices"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/pflag"

	"slipway/config"
	"slipway/hooks/submodule"
)

func cacheCommands() command {
	return command{name: "cache", short: "The fetched submodules", sub: []command{
		{name: "list", short: "List the fetched submodules, most recently used first", who: admin, run: cacheList},
		{name: "verify", short: "Check every fetched object; what is damaged is removed, to be fetched again", who: admin, changes: true, run: cacheVerify},
		{
			name: "prune", args: "[--to SIZE]", short: "Remove the fetched submodules that were least recently used", who: admin, changes: true,
			flags: func(f *pflag.FlagSet) {
				f.String("to", "", "size to get down to, such as 1GiB or 0; default [limits] cache_bytes")
			},
			run: cachePrune,
		},
	}}
}

type cacheJSON struct {
	URL     string     `json:"url"`
	Bytes   int64      `json:"bytes"`
	Commits int        `json:"commits"`
	Used    *time.Time `json:"used"`
}

func asCache(all []submodule.CacheEntry) []cacheJSON {
	out := []cacheJSON{}
	for _, e := range all {
		out = append(out, cacheJSON{e.URL, e.Bytes, e.Commits, jsonTime(e.Used)})
	}
	return out
}

func (c *call) listCache(all []submodule.CacheEntry) error {
	slices.SortStableFunc(all, func(a, b submodule.CacheEntry) int { return b.Used.Compare(a.Used) })
	var rows [][]string
	for _, e := range all {
		rows = append(rows, []string{minute(e.Used), humanize.IBytes(uint64(max(e.Bytes, 0))), itoa(e.Commits), e.URL})
	}
	return c.list(asCache(all), []string{"USED", "SIZE", "COMMITS", "URL"}, rows)
}

func cacheList(_ context.Context, c *call) error {
	all, err := c.app.resolver.Cache()
	if err != nil {
		return err
	}
	return c.listCache(all)
}

func cacheVerify(ctx context.Context, c *call) error {
	good, bad, err := c.app.resolver.Verify(ctx)
	if err != nil {
		return err
	}
	if c.flag("json") {
		return writeJSON(c.io.Out, struct {
			Sound   int         `json:"sound"`
			Removed []cacheJSON `json:"removed"`
		}{good, asCache(bad)})
	}
	if err := c.print("%d sound, %d damaged and removed\n", good, len(bad)); err != nil || len(bad) == 0 {
		return err
	}
	return c.listCache(bad)
}

func cachePrune(_ context.Context, c *call) error {
	limit := c.app.config().Limits.CacheBytes
	if to := c.text("to"); to != "" {
		var err error
		if limit, err = config.ParseSize(to); err != nil {
			return config.Errorf(config.Usage, "such as cache prune --to 1GiB", "%s is no size", quoted(to))
		}
	}
	gone, err := c.app.resolver.Prune(limit)
	if err != nil {
		return err
	}
	c.detail = itoa(len(gone)) + " removed"
	if c.flag("json") {
		return writeJSON(c.io.Out, asCache(gone))
	}
	return c.say("%d removed", len(gone))
}
