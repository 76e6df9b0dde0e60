// Package service provides what apps need beside themselves: SQL databases. It
// knows how each is made ready and by which variables an app finds it.
package service

import (
	"strings"

	"slipway/config"
)

// URL is the variable that names an app's main database.
const URL = "DATABASE_URL"

// SQLite is the type of a database that is a file beside the app.
const SQLite = "sqlite"

// Main returns the index of the service that DATABASE_URL names: db, else the
// first; -1 if there is none.
func Main(all []config.ServiceSpec) int {
	for i, s := range all {
		if s.Name == "db" {
			return i
		}
	}
	return min(len(all), 1) - 1
}

// Endpoint is how an app reaches one SQL database; a part that has no meaning
// for its type is "".
type Endpoint struct {
	Name, URL, Host, Port, Login, Password string
}

// Vars are the variables of an endpoint: DATABASE_URL and dotCloud's names.
func (e Endpoint) Vars() map[string]string {
	prefix := "DOTCLOUD_" + strings.ToUpper(e.Name) + "_SQL_"
	return map[string]string{
		URL:                 e.URL,
		prefix + "URL":      e.URL,
		prefix + "HOST":     e.Host,
		prefix + "PORT":     e.Port,
		prefix + "LOGIN":    e.Login,
		prefix + "PASSWORD": e.Password,
	}
}
