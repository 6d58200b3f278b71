export {
  type SessionMetricsOptions,
  sessionMetrics,
  sessionMetrics as default
} from './tools/metrics/prometheus.js'
