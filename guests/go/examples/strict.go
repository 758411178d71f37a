// Puts a currency behind every value, and refuses to start with one that is wrong.
//
// Configuration: currency, three capital letters.
package main

import (
	"fmt"
	"regexp"

	"millstream"
)

func init() {
	millstream.OnOpen(open)
	millstream.MapValue(func(value []byte) []byte { return fmt.Appendf(value, " %s", currency()) })
}

func main() {}

func open() error {
	if currency := currency(); !regexp.MustCompile(`^[A-Z]{3}$`).MatchString(currency) {
		return fmt.Errorf("`currency: %s` is not three capital letters, as EUR is", currency)
	}
	return nil
}

func currency() string {
	currency, _ := millstream.Config("currency")
	return currency
}
