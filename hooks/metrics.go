package hooks

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"slipway/store"
)

// metrics are figures about deploys for machines.
type metrics struct {
	deploys *prometheus.CounterVec
	seconds *prometheus.HistogramVec
	window  prometheus.Histogram
	running prometheus.GaugeFunc
	waiting prometheus.GaugeFunc
}

func newMetrics(q *queue) *metrics {
	return &metrics{
		deploys: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "slipway_deploys_total", Help: "Deploys that have ended, by how.",
		}, []string{"reason", "state"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "slipway_step_seconds", Help: "Seconds that the steps of deploys took.",
			Buckets: prometheus.ExponentialBuckets(0.01, 4, 9),
		}, []string{"step"}),
		window: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "slipway_switch_seconds", Help: "Seconds from the first to the last host that was switched.",
			Buckets: prometheus.ExponentialBuckets(0.001, 4, 9),
		}),
		running: prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "slipway_deploys_running", Help: "Deploys that run now.",
		}, func() float64 { running, _ := q.size(); return float64(running) }),
		waiting: prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "slipway_deploys_waiting", Help: "Deploys that wait now.",
		}, func() float64 { _, waiting := q.size(); return float64(waiting) }),
	}
}

// Register adds the figures about deploys to a registry.
func (s *Server) Register(r prometheus.Registerer) error {
	for _, c := range []prometheus.Collector{s.metrics.deploys, s.metrics.seconds, s.metrics.window, s.metrics.running, s.metrics.waiting} {
		if err := r.Register(c); err != nil {
			return err
		}
	}
	return nil
}

// ended counts a deploy.
func (m *metrics) ended(reason store.Reason, state store.State, steps map[string]float64) {
	m.deploys.WithLabelValues(string(reason), string(state)).Inc()
	for step, seconds := range steps {
		m.seconds.WithLabelValues(step).Observe(seconds)
	}
}

func (m *metrics) switched(took time.Duration) { m.window.Observe(took.Seconds()) }
