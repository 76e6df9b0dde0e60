package hooks

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"slipway/builder"
	"slipway/config"
	"slipway/store"
)

func appEnv(t testing.TB, s string) config.AppEnv {
	t.Helper()
	ae, err := config.ParseAppEnv(s)
	if err != nil {
		t.Fatal(err)
	}
	return ae
}

// TestQueueOrder: one at a time in an APP/ENV, first come first served, others
// beside it.
func TestQueueOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dev, prod := appEnv(t, "shop/dev"), appEnv(t, "shop/prod")
		q := newQueue(func() int { return 4 }, time.Now)
		enter := func(ae config.AppEnv, by string) *ticket { return q.enter(ae, by, "", func(error) {}) }
		first, second, third, other := enter(dev, "ana"), enter(dev, "bo"), enter(dev, "cy"), enter(prod, "di")
		for _, free := range []*ticket{first, other} {
			if err := free.wait(t.Context(), func(*ticket, int) { t.Error("is shown a wait") }); err != nil {
				t.Fatal(err)
			}
		}
		var mu sync.Mutex
		var shown []string
		wait := func(k *ticket, by string) {
			err := k.wait(t.Context(), func(ahead *ticket, place int) {
				info, _ := ahead.snapshot()
				mu.Lock()
				defer mu.Unlock()
				shown = append(shown, fmt.Sprintf("%s behind %s at %d", by, info.By, place))
			})
			if err != nil {
				t.Error(err)
			}
		}
		go wait(third, "cy")
		synctest.Wait()
		go wait(second, "bo")
		synctest.Wait()
		if running, waiting := q.size(); running != 2 || waiting != 2 {
			t.Errorf("%d run, %d wait", running, waiting)
		}
		first.leave("it failed")
		synctest.Wait()
		first.leave("again")
		second.leave("")
		synctest.Wait()
		want := "[cy behind ana at 2 bo behind ana at 1 cy behind bo at 1]"
		if fmt.Sprint(shown) != want || first.result() != "it failed" {
			t.Errorf("%v, %s", shown, first.result())
		}
		third.leave("")
		other.leave("")
		if len(q.busy()) != 0 {
			t.Error("somebody is left")
		}
	})
}

// TestQueueGivenUp: who leaves while it waits holds up nobody and hears why.
func TestQueueGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dev := appEnv(t, "shop/dev")
		q := newQueue(func() int { return 1 }, time.Now)
		first := q.enter(dev, "ana", "", func(error) {})
		ctx, cancel := context.WithCancelCause(t.Context())
		second := q.enter(dev, "bo", "", cancel)
		third := q.enter(appEnv(t, "other/dev"), "cy", "", func(error) {}) // held up by the limit alone
		gone, got := make(chan error, 1), make(chan error, 1)
		go func() { gone <- second.wait(ctx, nil) }()
		go func() { got <- third.wait(t.Context(), nil) }()
		synctest.Wait()
		why := errors.New("cancelled by maria")
		second.cancel(why)
		if err := <-gone; !errors.Is(err, why) {
			t.Error(err)
		}
		first.leave("")
		if err := <-got; err != nil {
			t.Error(err)
		}
		third.leave("")
		if running, waiting := q.size(); running+waiting != 0 {
			t.Errorf("%d run, %d wait", running, waiting)
		}
	})
}

// TestQueueModel: many deploys of a few APP/ENVs, some of which give up, never
// two at once in one, never more than the limit, and all come to an end.
func TestQueueModel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const limit = 3
		q := newQueue(func() int { return limit }, time.Now)
		var mu sync.Mutex
		inside, all := map[config.AppEnv]int{}, 0
		var deploys sync.WaitGroup
		for i := range 200 {
			ae := appEnv(t, fmt.Sprintf("app%d/dev", rand.N(5)))
			patience, work := time.Duration(rand.N(400))*time.Second, time.Duration(rand.N(20))*time.Second
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			k := q.enter(ae, fmt.Sprint(i), "", func(error) { cancel() })
			deploys.Go(func() {
				defer cancel()
				if k.wait(ctx, func(*ticket, int) {}) != nil {
					return
				}
				mu.Lock()
				inside[ae]++
				all++
				if inside[ae] > 1 || all > limit {
					t.Errorf("%d in %s, %d in all", inside[ae], ae, all)
				}
				mu.Unlock()
				<-time.After(work)
				mu.Lock()
				inside[ae]--
				all--
				mu.Unlock()
				k.leave("")
			})
		}
		deploys.Wait()
		if len(q.busy()) != 0 {
			t.Error("somebody is left")
		}
	})
}

func TestDescribe(t *testing.T) {
	ae := appEnv(t, "shop/staging")
	since := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for _, c := range []struct {
		r    Running
		want string
	}{
		{Running{By: "alex", Release: 12, Commit: store.OID(one), Since: since}, "alex deploys shop/staging: release 12, 1111111, for 1m05s"},
		{Running{By: "alex", Since: since}, "alex deploys shop/staging: for 1m05s"},
	} {
		if got := c.r.describe(ae, since.Add(65*time.Second), builder.Whole); got != c.want {
			t.Errorf("%s, not %s", got, c.want)
		}
	}
}
