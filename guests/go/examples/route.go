// Orders go on to main, large ones to large as well. An order's value is its amount in cents; its header kind may say
// test, which goes nowhere, or held, which is to come a second time.
//
// Configuration: large is the amount from which on an order is large (100000), hold-ms how long one is held (without it,
// the stage's back-off).
package main

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"time"

	"millstream"
)

func init() { millstream.Transform(route) }

func main() {}

func route(key, order []byte) ([]millstream.Record, error) {
	if order == nil {
		return []millstream.Record{{Key: key}}, nil
	}
	origin, kind := millstream.Source(), millstream.FindHeader("kind")
	switch {
	case string(kind) == "test":
		return nil, nil
	case string(kind) == "held" && origin.Attempt == 1:
		return nil, hold()
	}

	amount, ok := number(string(order))
	if !ok {
		return nil, millstream.Reject("no-number", errors.New("the amount is not a number of cents"))
	}
	threshold, ok, err := setting("large")
	if err != nil {
		return nil, err
	}
	if !ok {
		threshold = 100_000
	}

	main := millstream.Record{
		Key: key, Value: order,
		Headers: []millstream.Header{{Name: "checked"}, {Name: "route", Value: []byte("main")}},
	}
	if amount < threshold {
		return []millstream.Record{main}, nil
	}
	main.Headers = append(main.Headers, millstream.Header{Name: "route", Value: []byte("large")})

	if kind == nil {
		kind = []byte("plain")
	}
	large := millstream.Record{
		Output: "large",
		Key:    kind, Value: order,
		Headers: []millstream.Header{
			{Name: "from", Value: []byte(origin.Topic)},
			{Name: "from", Value: fmt.Appendf(nil, "%s/%d@%d", origin.Input, origin.Partition, origin.Offset)},
			{Name: "checked"},
		},
		ReplaceHeaders: true,
		// Those of a minute stand together.
		Timestamp: origin.Timestamp.Truncate(time.Minute),
	}
	return []millstream.Record{main, large}, nil
}

func hold() error {
	held := errors.New("the order is held")
	wait, ok, err := setting("hold-ms")
	switch {
	case err != nil:
		return err
	case ok:
		return millstream.RetryAfter(time.Duration(wait)*time.Millisecond, "held", held)
	}
	return millstream.Retry("held", held)
}

func setting(name string) (value int64, ok bool, err error) {
	text, ok := millstream.Config(name)
	if !ok {
		return 0, false, nil
	}
	value, ok = number(text)
	if !ok {
		return 0, false, millstream.Fault("config", fmt.Errorf("`%s` is not a number", name))
	}
	return value, true, nil
}

// Digits alone, where ParseInt would take a sign as well; 15 of them are exact in any language.
var digits = regexp.MustCompile(`^[0-9]{1,15}$`)

func number(text string) (int64, bool) {
	if !digits.MatchString(text) {
		return 0, false
	}
	number, err := strconv.ParseInt(text, 10, 64)
	return number, err == nil
}
