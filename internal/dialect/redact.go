package dialect

import (
	"regexp"
	"strings"
	"unicode"
)

// The places of a token: after the verb of a line, and in a JSON member, even if
// the frame is refused for another reason.
var (
	lineSecret = regexp.MustCompile(`(?im)^([\s\p{Z}]*(?:un)?bind-(?:with|from)-token(?:\s*:)?)(.*)$`)
	jsonSecret = regexp.MustCompile(`(?i)("token"\s*:\s*")((?:[^"\\]|\\.)*)`)
)

// Redact returns the frame with every word in the place of a token replaced by
// what name returns for it, whether or not [Parse] accepts the frame.
func Redact(frame string, name func(secret string) string) string {
	if strings.HasPrefix(strings.TrimSpace(frame), "{") {
		return jsonSecret.ReplaceAllStringFunc(frame, func(found string) string {
			parts := jsonSecret.FindStringSubmatch(found)
			if secret := strings.TrimSpace(parts[2]); secret != "" {
				return parts[1] + name(secret)
			}
			return found
		})
	}
	return lineSecret.ReplaceAllStringFunc(frame, func(line string) string {
		parts := lineSecret.FindStringSubmatch(line)
		words := strings.Fields(parts[2])
		if len(words) == 0 {
			return line
		}
		for i, word := range words {
			if word = unquote(word); word != "" {
				words[i] = name(word)
			}
		}
		space := ""
		if strings.TrimLeftFunc(parts[2], unicode.IsSpace) != parts[2] {
			space = " "
		}
		return parts[1] + space + strings.Join(words, " ")
	})
}
