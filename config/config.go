// Package config holds what an admin and an app's author write down, as types
// that can only hold valid values: server.toml, slipway.toml, Procfile, the
// names of apps and environments, the URLs of sources, limits and secrets.
// It also holds the one error type that people read. It imports no other
// package of Slipway.
package config
