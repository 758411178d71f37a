// A post with its tags beside it, each once and in small letters.
package main

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"

	"millstream"
)

var hashtag = regexp.MustCompile(`#(\pL[\pL\pN_]*)`)

func init() { millstream.Transform(tags) }

func main() {}

func tags(key, value []byte) ([]millstream.Record, error) {
	if value == nil {
		return []millstream.Record{{Key: key}}, nil
	}
	// What else a post has goes along.
	post := map[string]json.RawMessage{}
	var text string
	if err := json.Unmarshal(value, &post); err != nil {
		return nil, err
	}
	if err := json.Unmarshal(post["text"], &text); err != nil {
		return nil, err
	}
	tags := []string{}
	for _, found := range hashtag.FindAllStringSubmatch(text, -1) {
		if tag := strings.ToLower(found[1]); !slices.Contains(tags, tag) {
			tags = append(tags, tag)
		}
	}
	post["tags"], _ = json.Marshal(tags)
	value, err := json.Marshal(post)
	return []millstream.Record{{Key: key, Value: value}}, err
}
