package hooks

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"slipway/config"
	"slipway/store"
)

// queue lets one deploy at a time into an APP/ENV, first come first served,
// and bounds how many run at once over all.
type queue struct {
	now   func() time.Time
	limit func() int // deploys at once

	mu      sync.Mutex
	running map[config.AppEnv]*ticket
	waiting []*ticket // in the order in which they came
}

// ticket is one deploy's place in the queue, and what others may know of it.
type ticket struct {
	q      *queue
	ae     config.AppEnv
	cancel context.CancelCauseFunc
	turn   chan struct{} // closed when it may run
	beside bool          // is not counted among the deploys at once

	mu      sync.Mutex
	info    Running
	outcome string
	quiet   bool // only cleaning up: not worth a line to who waits
	ended   chan struct{}
}

func newQueue(limit func() int, now func() time.Time) *queue {
	return &queue{now: now, limit: limit, running: map[config.AppEnv]*ticket{}}
}

// enter takes a place. cancel ends the deploy on somebody's word.
func (q *queue) enter(ae config.AppEnv, by string, commit store.OID, cancel context.CancelCauseFunc) *ticket {
	t := &ticket{
		q: q, ae: ae, cancel: cancel, turn: make(chan struct{}), ended: make(chan struct{}),
		info: Running{By: by, Commit: commit, Since: q.now(), Step: "queue"},
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.waiting = append(q.waiting, t)
	q.admit()
	return t
}

// enterBeside takes a place for work that is no deploy and may hold several
// APP/ENVs: it counts for nothing in how many run at once.
func (q *queue) enterBeside(ae config.AppEnv, by string, cancel context.CancelCauseFunc) *ticket {
	t := &ticket{
		q: q, ae: ae, cancel: cancel, turn: make(chan struct{}), ended: make(chan struct{}), beside: true,
		info: Running{By: by, Since: q.now(), Step: "queue"},
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.waiting = append(q.waiting, t)
	q.admit()
	return t
}

// admit lets in whoever may run now; the caller holds the lock.
func (q *queue) admit() {
	deploys := 0
	for _, t := range q.running {
		if !t.beside {
			deploys++
		}
	}
	q.waiting = slices.DeleteFunc(q.waiting, func(t *ticket) bool {
		if q.running[t.ae] != nil || !t.beside && deploys >= q.limit() {
			return false
		}
		q.running[t.ae] = t
		if !t.beside {
			deploys++
		}
		t.mu.Lock()
		t.info.Since, t.info.Step = q.now(), "start"
		t.mu.Unlock()
		close(t.turn)
		return true
	})
}

// wait returns once the ticket may run, or with the cause that ctx ended with,
// the place then being given up. show is called at once and whenever another
// deploy becomes the one to wait for, unless the turn has come; it may be nil.
func (t *ticket) wait(ctx context.Context, show func(ahead *ticket, place int)) error {
	for {
		ahead, place := t.ahead()
		if ahead != nil && show != nil {
			show(ahead, place)
		}
		var next <-chan struct{}
		if ahead != nil {
			next = ahead.ended
		}
		select {
		case <-t.turn:
			return nil
		default:
		}
		select {
		case <-t.turn:
			return nil
		case <-next:
			if err := t.settle(ctx); err != nil {
				return err
			}
		case <-ctx.Done():
			t.leave("")
			return context.Cause(ctx)
		}
	}
}

// settle lets the queue move on after the deploy ahead has ended.
func (t *ticket) settle(ctx context.Context) error {
	t.q.mu.Lock()
	t.q.admit()
	t.q.mu.Unlock()
	if ctx.Err() != nil {
		t.leave("")
		return context.Cause(ctx)
	}
	return nil
}

// ahead returns the deploy that this one waits for, and its place behind it
// (1 is next); nil once the turn has come. Where only the number of deploys
// over all holds it up, that is the one that has run longest.
func (t *ticket) ahead() (*ticket, int) {
	q := t.q
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.running[t.ae] == t {
		return nil, 0
	}
	place := 1
	for _, w := range q.waiting {
		if w == t {
			break
		}
		if w.ae == t.ae {
			place++
		}
	}
	if first := q.running[t.ae]; first != nil {
		return first, place
	}
	var oldest *ticket
	var since time.Time
	for _, r := range q.running {
		if info, _ := r.snapshot(); oldest == nil || info.Since.Before(since) {
			oldest, since = r, info.Since
		}
	}
	return oldest, place
}

// leave gives the place up; outcome is what those who waited are told. A
// second call does nothing.
func (t *ticket) leave(outcome string) {
	q := t.q
	q.mu.Lock()
	defer q.mu.Unlock()
	select {
	case <-t.ended:
		return
	default:
	}
	t.mu.Lock()
	t.outcome = outcome
	t.mu.Unlock()
	if q.running[t.ae] == t {
		delete(q.running, t.ae)
	}
	q.waiting = slices.DeleteFunc(q.waiting, func(w *ticket) bool { return w == t })
	close(t.ended)
	q.admit()
}

// update changes what others may know.
func (t *ticket) update(change func(*Running)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	change(&t.info)
}

func (t *ticket) snapshot() (info Running, quiet bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.info, t.quiet
}

// tidy marks the deploy as done but for cleaning up.
func (t *ticket) tidy(outcome string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.quiet, t.outcome = true, outcome
}

func (t *ticket) result() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.outcome
}

// of returns the running ticket of ae and how many wait behind it.
func (q *queue) of(ae config.AppEnv) (t *ticket, waiting int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, w := range q.waiting {
		if w.ae == ae {
			waiting++
		}
	}
	return q.running[ae], waiting
}

// cancelAll ends every deploy, running or waiting, with a cause.
func (q *queue) cancelAll(cause error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, t := range q.running {
		t.cancel(cause)
	}
	for _, t := range q.waiting {
		t.cancel(cause)
	}
}

// size counts the deploys that run and those that wait.
func (q *queue) size() (running, waiting int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.running), len(q.waiting)
}

// busy returns every deploy that runs or waits.
func (q *queue) busy() []*ticket {
	q.mu.Lock()
	defer q.mu.Unlock()
	all := slices.Clone(q.waiting)
	for _, t := range q.running {
		all = append(all, t)
	}
	return all
}

// describe says which deploy it is, for who waits: "alex deploys shop/staging:
// release 12, 8be0d52, for 1m05s".
func (r Running) describe(ae config.AppEnv, now time.Time, seconds func(time.Duration) string) string {
	s := fmt.Sprintf("%s deploys %s: ", r.By, ae)
	if r.Release > 0 {
		s += fmt.Sprintf("release %d, ", r.Release)
	}
	if r.Commit != "" {
		s += r.Commit.Short() + ", "
	}
	return s + "for " + seconds(now.Sub(r.Since))
}
