package main

import (
	"encoding/json"
	"strings"
	"testing"

	"slipway/store"
)

func TestAudit(t *testing.T) {
	o := newOffice(t)
	ana := o.key("ana", "--allow", "shop/dev")
	o.must(ana, "", "vars", "set", "shop/dev", "TOKEN=hunter2")
	o.must(ana, "", "lock", "shop/dev", "--reason", "inventory\x1b[2J\nforged row")
	same(t, "refused", o.do(ana, "", "key", "list").Status, 3)
	same(t, "refused", o.do(ana, "", "vars", "set", "shop/prod", "TOKEN=hunter2").Status, 3)
	same(t, "wording is no event", o.do(ana, "", "vars", "set", "shop/dev", "hunter-2").Status, 2)
	same(t, "nothing to be done", o.do(ana, "", "cancel", "shop/dev").Status, 4)

	want := `
		TIME              BY          ADDRESS          FINGERPRINT  APP/ENV    ACTION    RESULT                                  DETAIL
		2026-11-25 04:05  ana         192.0.2.7:50123  ANA  shop/dev   cancel    nothing is being deployed to shop/dev   -
		2026-11-25 04:05  ana         192.0.2.7:50123  ANA  shop/prod  vars set  key ana may not deploy shop/prod        -
		2026-11-25 04:05  ana         192.0.2.7:50123  ANA  -          key list  key list is for admins, and key ana is none  -
		2026-11-25 04:05  ana         192.0.2.7:50123  ANA  shop/dev   lock      ok  inventory forged row
		2026-11-25 04:05  ana         192.0.2.7:50123  ANA  shop/dev   vars set  ok  TOKEN
		2026-11-25 04:05  local:root  -                -    -          key add   ok  ana ANA shop/dev
		`
	fields := func(s string) string {
		var lines []string
		for line := range strings.Lines(strings.ReplaceAll(s, ana.Fingerprint, "ANA")) {
			lines = append(lines, strings.Join(strings.Fields(line), " "))
		}
		return strings.TrimSpace(strings.Join(lines, "\n"))
	}
	same(t, "all", fields(o.must(onServer, "", "audit")), fields(text(want)))
	if s := o.must(onServer, "", "audit", "--json"); strings.Contains(s, "hunter2") {
		t.Errorf("a value is in the audit log: %s", s)
	}

	var of []struct {
		Seq           int
		Time, Address string
		AppEnv        string `json:"app_env"`
	}
	check(t, json.Unmarshal([]byte(o.must(ana, "", "audit", "shop/dev", "--json", "--limit", "2")), &of))
	if len(of) != 2 || of[0].Seq != 6 || of[0].AppEnv != "shop/dev" || of[1].Address != "192.0.2.7:50123" || of[0].Time != "2026-11-25T04:05:00Z" {
		t.Errorf("of shop/dev: %+v", of)
	}
	same(t, "of all", o.do(ana, "", "audit").Status, 3)
	same(t, "of others", o.do(ana, "", "audit", "shop/prod").Status, 3)
	same(t, "unbroken", o.must(onServer, "", "audit", "verify"), "ok: 8 events, none changed\n")
}

// A command that ran and failed is an event with its exit status; one that
// could not be written into the log has failed.
func TestAuditOfResults(t *testing.T) {
	o := newOffice(t)
	c := &call{app: o.app, caller: onServer, path: "run", ae: appEnv(t, "shop/dev"), status: 7, detail: "psql"}
	check(t, c.audit(t.Context(), nil))
	events, err := o.store.Events(t.Context(), "", 1)
	check(t, err)
	same(t, "event", []string{events[0].Detail, events[0].Result}, []string{"psql", "exit status 7"})

	broken := newOffice(t)
	line, _ := publicKey(t, "maria")
	s, err := store.Open(t.Context(), t.TempDir(), broken.now)
	check(t, err)
	check(t, s.Close())
	c.app = &app{store: s}
	if err := c.audit(t.Context(), nil); err == nil || statusOf(err) != 1 {
		t.Errorf("a closed database takes an event: %v", err)
	}
	if r := broken.do(onServer, line, "key", "add", "maria"); r.Status != 0 {
		t.Errorf("%+v", r)
	}
}
