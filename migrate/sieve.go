package migrate

import (
	"fmt"
	"strings"
)

// translateScript gives the folders that a Sieve script names the names that they
// have here: no prefix, levels separated by '/'. Otherwise a script would go on
// filing into "INBOX.Lists", which would be made as a folder of that name. Only
// the arguments of fileinto (RFC 5228, section 4.1) and mailboxexists (RFC 5490)
// are changed, and nothing where the script cannot be read.
func translateScript(script, prefix string, separator byte) (string, error) {
	if prefix == "" && (separator == '/' || separator == 0) {
		return script, nil
	}
	tokens, err := sieveTokens(script)
	if err != nil {
		return script, err
	}
	var out strings.Builder
	done := 0
	for _, t := range mailboxTokens(tokens) {
		out.WriteString(script[done:t.begin])
		out.WriteString(quoteSieve(translateFolder(unquoteSieve(script[t.begin:t.end]), prefix, separator)))
		done = t.end
	}
	out.WriteString(script[done:])
	return out.String(), nil
}

// translateFolder is a folder's name here. What stands in ${…} is a variable's
// name (RFC 5229).
func translateFolder(name, prefix string, separator byte) string {
	if len(name) > len(prefix) && strings.EqualFold(name[:len(prefix)], prefix) {
		name = name[len(prefix):]
	}
	var out strings.Builder
	for name != "" {
		if strings.HasPrefix(name, "${") {
			if end := strings.IndexByte(name, '}'); end > 0 {
				out.WriteString(name[:end+1])
				name = name[end+1:]
				continue
			}
		}
		if c := name[0]; c == separator {
			out.WriteByte('/')
		} else {
			out.WriteByte(c)
		}
		name = name[1:]
	}
	return out.String()
}

// sieveToken is a token of a script: a word, a quoted string or one character.
type sieveToken struct {
	kind       byte // 'w', '"', or the character
	begin, end int
	word       string // in lower case
}

// mailboxTokens are the strings that name folders.
func mailboxTokens(tokens []sieveToken) []sieveToken {
	var out []sieveToken
	for i := 0; i < len(tokens); i++ {
		switch {
		case tokens[i].kind == 'w' && tokens[i].word == "fileinto":
			// The folder is the last argument.
			last := -1
			for i++; i < len(tokens) && !strings.ContainsRune(";{}", rune(tokens[i].kind)); i++ {
				if tokens[i].kind == '"' {
					last = i
				}
			}
			if last >= 0 {
				out = append(out, tokens[last])
			}
		case tokens[i].kind == 'w' && tokens[i].word == "mailboxexists":
			for i++; i < len(tokens) && strings.ContainsRune(`[",]`, rune(tokens[i].kind)); i++ {
				if tokens[i].kind == '"' {
					out = append(out, tokens[i])
				}
				if tokens[i].kind == ']' || tokens[i].kind == '"' && tokens[i-1].kind == 'w' {
					break
				}
			}
		}
	}
	return out
}

// sieveTokens takes a script apart (RFC 5228, section 2.3 and 8.1).
func sieveTokens(s string) ([]sieveToken, error) {
	var tokens []sieveToken
	for i := 0; i < len(s); {
		begin := i
		switch c := s[i]; {
		case c == '#':
			i = endOf(s, i, "\n")
		case strings.HasPrefix(s[i:], "/*"):
			i = endOf(s, i+2, "*/")
		case c == '"':
			for i++; i < len(s) && s[i] != '"'; i++ {
				if s[i] == '\\' {
					i++
				}
			}
			i++
			tokens = append(tokens, sieveToken{kind: '"', begin: begin, end: i})
		case isWordByte(c):
			for i < len(s) && isWordByte(s[i]) {
				i++
			}
			word := strings.ToLower(s[begin:i])
			if word == "text" && i < len(s) && s[i] == ':' {
				i = endOfText(s, i)
				continue
			}
			tokens = append(tokens, sieveToken{kind: 'w', begin: begin, end: i, word: word})
		case c == ' ' || c == '\t' || c == '\r' || c == '\n':
			i++
		default:
			i++
			tokens = append(tokens, sieveToken{kind: c, begin: begin, end: i})
		}
		if i > len(s) {
			return nil, fmt.Errorf("something that begins at octet %d has no end", begin)
		}
	}
	return tokens, nil
}

func isWordByte(c byte) bool {
	return c == '_' || c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'z'
}

// endOf is where a mark that follows has ended, behind the script if there is
// none and one is needed.
func endOf(s string, from int, mark string) int {
	at := strings.Index(s[min(from, len(s)):], mark)
	switch {
	case at >= 0:
		return from + at + len(mark)
	case mark == "\n":
		return len(s)
	}
	return len(s) + 1
}

// endOfText is where a text of several lines has ended: by a dot alone on its
// line.
func endOfText(s string, from int) int {
	for i := endOf(s, from, "\n"); i < len(s); {
		end := endOf(s, i, "\n")
		if strings.TrimRight(s[i:end], "\r\n") == "." {
			return end
		}
		i = end
	}
	return len(s)
}

func unquoteSieve(quoted string) string {
	var out strings.Builder
	inner := quoted[1 : len(quoted)-1]
	for i := 0; i < len(inner); i++ {
		if inner[i] == '\\' && i+1 < len(inner) {
			i++
		}
		out.WriteByte(inner[i])
	}
	return out.String()
}

func quoteSieve(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}
