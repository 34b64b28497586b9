package oldhost

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"mime"
	"mime/quotedprintable"
	"strings"
	"time"
)

// subjects are all sorts of what people write.
var subjects = []string{
	"Protokoll der Sitzung vom 3. März", "Re: Grüße aus München", "日本語の件名", "Счёт за январь",
	"invoice 2019-0417", "🎂 Einladung zum Geburtstag", "Re: Fwd: Re: the boiler", "naïve café, déjà vu",
}

// letter makes the n-th message of a mailbox: real MIME of some shape, lines
// ended by LF as a Maildir has them.
func letter(r *rand.Rand, n int, to string, date time.Time) []byte {
	shapes := []func(*rand.Rand, *bytes.Buffer){plain, alternative, attachment, forwarded, latin1, longLines, html}
	var b bytes.Buffer
	fmt.Fprintf(&b, "Return-Path: <writer%d@elsewhere.example>\nDelivered-To: %s\n", n, to)
	fmt.Fprintf(&b, "Received: from mx.elsewhere.example (mx.elsewhere.example [192.0.2.%d])\n\tby %s (Postfix) with ESMTPS id 4%08X;\n\t%s\n",
		r.IntN(250)+1, hostname, r.Uint32(), date.Format(time.RFC1123Z))
	fmt.Fprintf(&b, "Date: %s\nFrom: %s <writer%d@elsewhere.example>\nTo: <%s>\n",
		date.Format(time.RFC1123Z), mime.BEncoding.Encode("utf-8", "Jürgen Müller"), n, to)
	fmt.Fprintf(&b, "Subject: %s\nMessage-ID: <%d.%08x@elsewhere.example>\nMIME-Version: 1.0\n",
		mime.QEncoding.Encode("utf-8", subjects[r.IntN(len(subjects))]), n, r.Uint32())
	shapes[n%len(shapes)](r, &b)
	return b.Bytes()
}

func plain(r *rand.Rand, b *bytes.Buffer) {
	b.WriteString("Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\n")
	b.WriteString(prose(r, 3+r.IntN(20)))
}

func alternative(r *rand.Rand, b *bytes.Buffer) {
	edge := boundary(r)
	fmt.Fprintf(b, "Content-Type: multipart/alternative;\n boundary=\"%s\"\n\n--%s\n", edge, edge)
	b.WriteString("Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: quoted-printable\n\n")
	text := prose(r, 8)
	quoted(b, text)
	fmt.Fprintf(b, "\n--%s\nContent-Type: text/html; charset=utf-8\nContent-Transfer-Encoding: quoted-printable\n\n", edge)
	quoted(b, "<html><body><p>"+strings.ReplaceAll(text, "\n", "<br>\n")+"</p></body></html>\n")
	fmt.Fprintf(b, "\n--%s--\n", edge)
}

func attachment(r *rand.Rand, b *bytes.Buffer) {
	edge := boundary(r)
	fmt.Fprintf(b, "Content-Type: multipart/mixed; boundary=\"%s\"\n\nThis is a message in MIME format.\n--%s\n", edge, edge)
	b.WriteString("Content-Type: text/plain; charset=utf-8\n\n" + prose(r, 4))
	fmt.Fprintf(b, "\n--%s\nContent-Type: application/pdf;\n name*=utf-8''Rechnung%%20f%%C3%%BCr%%20M%%C3%%A4rz.pdf\n", edge)
	b.WriteString("Content-Disposition: attachment;\n filename*=utf-8''Rechnung%20f%C3%BCr%20M%C3%A4rz.pdf\nContent-Transfer-Encoding: base64\n\n")
	encoded(r, b, 2000+r.IntN(60000))
	fmt.Fprintf(b, "\n--%s--\n", edge)
}

func forwarded(r *rand.Rand, b *bytes.Buffer) {
	edge := boundary(r)
	fmt.Fprintf(b, "Content-Type: multipart/mixed; boundary=\"%s\"\n\n--%s\n\nsee below\n--%s\nContent-Type: message/rfc822\n\n", edge, edge, edge)
	b.WriteString("From: <first@elsewhere.example>\nSubject: inner\n\n" + prose(r, 5))
	fmt.Fprintf(b, "\n--%s--\n", edge)
}

func latin1(r *rand.Rand, b *bytes.Buffer) {
	b.WriteString("Content-Type: text/plain; charset=iso-8859-1\nContent-Transfer-Encoding: 8bit\n\n")
	for range 4 + r.IntN(4) {
		b.WriteString("Sch\xf6ne Gr\xfc\xdfe, und bis n\xe4chste Woche\n")
	}
}

func longLines(r *rand.Rand, b *bytes.Buffer) {
	b.WriteString("Content-Type: text/plain; charset=us-ascii; format=flowed\n\n")
	b.WriteString(strings.Repeat("a line longer than RFC 5322 allows ", 100+r.IntN(100)) + "\n.\n..\nFrom here on it is short.\n")
}

func html(r *rand.Rand, b *bytes.Buffer) {
	b.WriteString("Content-Type: text/html; charset=utf-8\nContent-Transfer-Encoding: base64\n\n")
	encoded(r, b, 500+r.IntN(4000))
}

func boundary(r *rand.Rand) string { return fmt.Sprintf("=_%016x", r.Uint64()) }

func prose(r *rand.Rand, lines int) string {
	words := strings.Fields("der die das Käse boiler Zürich année mañana invoice the and quickly 東京 привет résumé über -- > on")
	var b strings.Builder
	for range lines {
		for range 5 + r.IntN(6) {
			b.WriteString(words[r.IntN(len(words))] + " ")
		}
		b.WriteString("\n")
	}
	return b.String()
}

func quoted(b *bytes.Buffer, text string) {
	w := quotedprintable.NewWriter(b)
	_, _ = w.Write([]byte(text)) // a buffer takes everything
	_ = w.Close()
}

// encoded writes size random bytes in lines of base64.
func encoded(r *rand.Rand, b *bytes.Buffer, size int) {
	var line [57]byte
	for ; size > 0; size -= len(line) {
		for i := range line {
			line[i] = byte(r.Uint32())
		}
		b.WriteString(base64.StdEncoding.EncodeToString(line[:min(size, len(line))]) + "\n")
	}
}

// Sized is the n-th message of a mailbox, lines ended by LF, that has exactly so
// many octets when they are ended by CRLF, as IMAP and POP3 count. There has to
// be room for its header, some 150.
func Sized(n int, octets int64) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "From: <somebody@elsewhere.example>\nSubject: letter %d\nMessage-ID: <%d.sized@elsewhere.example>\n\n", n, n)
	left := octets - virtualSize(b.Bytes())
	if left < 0 || left == 1 {
		panic(fmt.Sprintf("no message of %d octets", octets))
	}
	line := strings.Repeat("x", 76)
	for left > 0 {
		length := min(78, left)
		if left-length == 1 { // no room for a line of its own
			length--
		}
		b.WriteString(line[:length-2] + "\n")
		left -= length
	}
	return b.Bytes()
}

// virtualSize counts a message as IMAP and POP3 do: each line ends in CRLF.
func virtualSize(message []byte) int64 {
	return int64(len(message) + bytes.Count(message, []byte("\n")) - bytes.Count(message, []byte("\r\n")))
}
