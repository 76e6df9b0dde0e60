-- Times are RFC 3339 in UTC, '' is none. Nothing is ordered by them: clocks
-- step back. Numbers are.
CREATE TABLE meta (
  name TEXT PRIMARY KEY,
  value TEXT NOT NULL
) STRICT;
CREATE TABLE keys (
  name TEXT PRIMARY KEY,
  type TEXT NOT NULL,
  blob BLOB NOT NULL UNIQUE,
  fingerprint TEXT NOT NULL,
  comment TEXT NOT NULL,
  admin INTEGER NOT NULL,
  allow TEXT NOT NULL,
  created TEXT NOT NULL
) STRICT;
CREATE TABLE attempts (
  fingerprint TEXT NOT NULL,
  user TEXT NOT NULL,
  addr TEXT NOT NULL,
  authorized_key TEXT NOT NULL,
  count INTEGER NOT NULL,
  last TEXT NOT NULL,
  seq INTEGER NOT NULL,
  PRIMARY KEY (fingerprint, user)
) STRICT;
CREATE TABLE apps (
  app TEXT PRIMARY KEY,
  upstream TEXT NOT NULL,
  created TEXT NOT NULL
) STRICT;
-- Vars may be set before an app's first push has made it, so they refer to no
-- row of apps; neither do releases, of which the first may fail.
CREATE TABLE vars (
  app TEXT NOT NULL, env TEXT NOT NULL, name TEXT NOT NULL,
  value BLOB NOT NULL,
  by TEXT NOT NULL,
  changed TEXT NOT NULL,
  PRIMARY KEY (app, env, name)
) STRICT;
CREATE TABLE numbers (
  app TEXT NOT NULL, env TEXT NOT NULL,
  release INTEGER NOT NULL,
  generation INTEGER NOT NULL,
  PRIMARY KEY (app, env)
) STRICT;
CREATE TABLE releases (
  app TEXT NOT NULL, env TEXT NOT NULL, number INTEGER NOT NULL,
  build INTEGER NOT NULL,
  commit_oid TEXT NOT NULL,
  ref TEXT NOT NULL,
  title TEXT NOT NULL,
  state TEXT NOT NULL CHECK (state IN ('building', 'live', 'retired', 'failed', 'cancelled', 'interrupted')),
  reason TEXT NOT NULL,
  by TEXT NOT NULL,
  created TEXT NOT NULL,
  ended TEXT NOT NULL,
  plan TEXT NOT NULL,
  tree TEXT NOT NULL,
  file TEXT NOT NULL,
  steps TEXT NOT NULL,
  error TEXT NOT NULL,
  pruned INTEGER NOT NULL,
  vars BLOB NOT NULL,
  PRIMARY KEY (app, env, number)
) STRICT;
CREATE UNIQUE INDEX one_live ON releases (app, env) WHERE state = 'live';
CREATE TABLE journal (
  app TEXT NOT NULL, env TEXT NOT NULL, release INTEGER NOT NULL,
  phase TEXT NOT NULL,
  ref TEXT NOT NULL,
  old TEXT NOT NULL, new TEXT NOT NULL,
  from_release INTEGER NOT NULL, to_release INTEGER NOT NULL,
  generation INTEGER NOT NULL,
  changed TEXT NOT NULL,
  PRIMARY KEY (app, env, release)
) STRICT;
CREATE UNIQUE INDEX one_open ON journal (app, env) WHERE phase NOT IN ('done', 'ended');
CREATE TABLE locks (
  app TEXT NOT NULL, env TEXT NOT NULL,
  by TEXT NOT NULL, reason TEXT NOT NULL, since TEXT NOT NULL,
  PRIMARY KEY (app, env)
) STRICT;
CREATE TABLE services (
  app TEXT NOT NULL, env TEXT NOT NULL, name TEXT NOT NULL,
  password BLOB NOT NULL,
  PRIMARY KEY (app, env, name)
) STRICT;
-- A uid stays with the APP/ENV that it was first given to, for files may bear
-- it; an APP/ENV has several once the range was moved.
CREATE TABLE uids (
  uid INTEGER PRIMARY KEY,
  app TEXT NOT NULL, env TEXT NOT NULL,
  seq INTEGER NOT NULL UNIQUE
) STRICT;
CREATE INDEX uids_of ON uids (app, env);
CREATE TABLE audit (
  seq INTEGER PRIMARY KEY,
  time TEXT NOT NULL,
  by TEXT NOT NULL, fingerprint TEXT NOT NULL, addr TEXT NOT NULL,
  appenv TEXT NOT NULL, action TEXT NOT NULL, detail TEXT NOT NULL, result TEXT NOT NULL,
  hash TEXT NOT NULL
) STRICT;
CREATE INDEX audit_of ON audit (appenv, seq);
CREATE TRIGGER audit_stays BEFORE UPDATE ON audit BEGIN SELECT raise(ABORT, 'the audit log is append-only'); END;
CREATE TRIGGER audit_keeps BEFORE DELETE ON audit BEGIN SELECT raise(ABORT, 'the audit log is append-only'); END;
-- REPLACE deletes without firing the trigger above.
CREATE TRIGGER audit_grows BEFORE INSERT ON audit
WHEN new.seq <> (SELECT coalesce(max(seq), 0) + 1 FROM audit)
BEGIN SELECT raise(ABORT, 'the audit log is append-only'); END;
