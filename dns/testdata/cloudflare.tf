variable "mail_zone_ids" {
  description = "By name of the zone, its id: example.org, example.net"
  type        = map(string)
}

# required: other mail servers and mail programs connect there
resource "cloudflare_dns_record" "mail_example_org_a" {
  zone_id = var.mail_zone_ids["example.org"]
  name    = "mail.example.org"
  type    = "A"
  ttl     = 3600
  content = "192.0.2.25"
  proxied = false
}

# recommended: who has IPv6 connects there
resource "cloudflare_dns_record" "mail_example_org_aaaa" {
  zone_id = var.mail_zone_ids["example.org"]
  name    = "mail.example.org"
  type    = "AAAA"
  ttl     = 3600
  content = "2001:db8::25"
  proxied = false
}

# recommended: no other authority may make a certificate for the host
resource "cloudflare_dns_record" "mail_example_org_caa" {
  zone_id = var.mail_zone_ids["example.org"]
  name    = "mail.example.org"
  type    = "CAA"
  ttl     = 3600
  data = {
    flags = 0
    tag   = "issue"
    value = "letsencrypt.org"
  }
}

# recommended: who knows DANE trusts this key (ecdsa) and no other; it counts in a zone that is signed (DNSSEC)
resource "cloudflare_dns_record" "_25__tcp_mail_example_org_tlsa" {
  zone_id = var.mail_zone_ids["example.org"]
  name    = "_25._tcp.mail.example.org"
  type    = "TLSA"
  ttl     = 3600
  data = {
    usage         = 3
    selector      = 1
    matching_type = 1
    certificate   = "a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1"
  }
}

# recommended: the key that follows (ecdsa): its record has to be there before it is served
resource "cloudflare_dns_record" "_25__tcp_mail_example_org_tlsa_2" {
  zone_id = var.mail_zone_ids["example.org"]
  name    = "_25._tcp.mail.example.org"
  type    = "TLSA"
  ttl     = 3600
  data = {
    usage         = 3
    selector      = 1
    matching_type = 1
    certificate   = "b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2"
  }
}

# recommended: bounces have no sender: receivers look at the name that the host greets with
resource "cloudflare_dns_record" "mail_example_org_txt" {
  zone_id = var.mail_zone_ids["example.org"]
  name    = "mail.example.org"
  type    = "TXT"
  ttl     = 3600
  content = "\"v=spf1 a -all\""
}

# required: mail for example.org goes to this host
resource "cloudflare_dns_record" "example_org_mx" {
  zone_id = var.mail_zone_ids["example.org"]
  name    = "example.org"
  type    = "MX"
  ttl     = 3600
  content = "mail.example.org"
  priority = 10
}

# required: nobody but this host may send as example.org
resource "cloudflare_dns_record" "example_org_txt" {
  zone_id = var.mail_zone_ids["example.org"]
  name    = "example.org"
  type    = "TXT"
  ttl     = 3600
  content = "\"v=spf1 mx -all\""
}

# required: receivers verify signatures by it, as this key signs
resource "cloudflare_dns_record" "r2026__domainkey_example_org_txt" {
  zone_id = var.mail_zone_ids["example.org"]
  name    = "r2026._domainkey.example.org"
  type    = "TXT"
  ttl     = 3600
  content = "\"v=DKIM1; k=rsa; p=MIIBIjANBgkqhkiGMIIBIjANBgkqhkiGMIIBIjANBgkqhkiGMIIBIjANBgkqhkiGMIIBIjANBgkqhkiGMIIBIjANBgkqhkiGMIIBIjANBgkqhkiGMIIBIjANBgkqhkiGMIIBIjANBgkqhkiGMIIBIjANBgkqhkiGMIIBIjANBgkqhkiGMIIBIjANBgkqhkiGMIIBIjANBgkqhkiGMIIBIjANBgkqhkiGMIIBIjANBgkqh\" \"kiGMIIBIjANBgkqhkiGMIIBIjANBgkqhkiGMIIBIjANBgkqhkiGMIIBIjANBgkqhkiGMIIBIjANBgkqhkiGMIIBIjANBgkqhkiGMIIBIjANBgkqhkiGMIIBIjANBgkqhkiGMIIBIjANBgkqhkiGMIIBIjANBgkqhkiG\""
}

# recommended: the key that follows: it signs when every name server of the domain has its record
resource "cloudflare_dns_record" "e2027__domainkey_example_org_txt" {
  zone_id = var.mail_zone_ids["example.org"]
  name    = "e2027._domainkey.example.org"
  type    = "TXT"
  ttl     = 3600
  content = "\"v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\""
}

# recommended: still needed until 2026-12-07: mail that this key has signed may be on its way
resource "cloudflare_dns_record" "e2025__domainkey_example_org_txt" {
  zone_id = var.mail_zone_ids["example.org"]
  name    = "e2025._domainkey.example.org"
  type    = "TXT"
  ttl     = 3600
  content = "\"v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\""
}

# required: receivers put forged mail into spam; large receivers want one, and report to you daily
resource "cloudflare_dns_record" "_dmarc_example_org_txt" {
  zone_id = var.mail_zone_ids["example.org"]
  name    = "_dmarc.example.org"
  type    = "TXT"
  ttl     = 3600
  content = "\"v=DMARC1; p=quarantine; rua=mailto:postmaster@example.org\""
}

# recommended: other servers report to you when TLS to this host fails
resource "cloudflare_dns_record" "_smtp__tls_example_org_txt" {
  zone_id = var.mail_zone_ids["example.org"]
  name    = "_smtp._tls.example.org"
  type    = "TXT"
  ttl     = 3600
  content = "\"v=TLSRPTv1; rua=mailto:postmaster@example.org\""
}

# recommended: other servers send to example.org by TLS only; the id changes with the policy
resource "cloudflare_dns_record" "_mta-sts_example_org_txt" {
  zone_id = var.mail_zone_ids["example.org"]
  name    = "_mta-sts.example.org"
  type    = "TXT"
  ttl     = 3600
  content = "\"v=STSv1; id=0123456789abcdef\""
}

# recommended: where the policy is: a web server there serves what `mailstack clientconfig` writes
resource "cloudflare_dns_record" "mta-sts_example_org_cname" {
  zone_id = var.mail_zone_ids["example.org"]
  name    = "mta-sts.example.org"
  type    = "CNAME"
  ttl     = 3600
  content = "mail.example.org"
  proxied = false
}

# recommended: mail programs find IMAP over TLS
resource "cloudflare_dns_record" "_imaps__tcp_example_org_srv" {
  zone_id = var.mail_zone_ids["example.org"]
  name    = "_imaps._tcp.example.org"
  type    = "SRV"
  ttl     = 3600
  priority = 0
  data = {
    priority = 0
    weight   = 1
    port     = 993
    target   = "mail.example.org"
  }
}

# recommended: mail programs find IMAP with STARTTLS
resource "cloudflare_dns_record" "_imap__tcp_example_org_srv" {
  zone_id = var.mail_zone_ids["example.org"]
  name    = "_imap._tcp.example.org"
  type    = "SRV"
  ttl     = 3600
  priority = 10
  data = {
    priority = 10
    weight   = 1
    port     = 143
    target   = "mail.example.org"
  }
}

# recommended: POP3 over TLS is off: mail programs need not try
resource "cloudflare_dns_record" "_pop3s__tcp_example_org_srv" {
  zone_id = var.mail_zone_ids["example.org"]
  name    = "_pop3s._tcp.example.org"
  type    = "SRV"
  ttl     = 3600
  priority = 0
  data = {
    priority = 0
    weight   = 0
    port     = 0
    target   = "."
  }
}

# recommended: POP3 with STARTTLS is off: mail programs need not try
resource "cloudflare_dns_record" "_pop3__tcp_example_org_srv" {
  zone_id = var.mail_zone_ids["example.org"]
  name    = "_pop3._tcp.example.org"
  type    = "SRV"
  ttl     = 3600
  priority = 0
  data = {
    priority = 0
    weight   = 0
    port     = 0
    target   = "."
  }
}

# recommended: mail programs find sending over TLS
resource "cloudflare_dns_record" "_submissions__tcp_example_org_srv" {
  zone_id = var.mail_zone_ids["example.org"]
  name    = "_submissions._tcp.example.org"
  type    = "SRV"
  ttl     = 3600
  priority = 0
  data = {
    priority = 0
    weight   = 1
    port     = 465
    target   = "mail.example.org"
  }
}

# recommended: mail programs find sending with STARTTLS
resource "cloudflare_dns_record" "_submission__tcp_example_org_srv" {
  zone_id = var.mail_zone_ids["example.org"]
  name    = "_submission._tcp.example.org"
  type    = "SRV"
  ttl     = 3600
  priority = 10
  data = {
    priority = 10
    weight   = 1
    port     = 587
    target   = "mail.example.org"
  }
}

# recommended: mail programs find filters, by ManageSieve
resource "cloudflare_dns_record" "_sieve__tcp_example_org_srv" {
  zone_id = var.mail_zone_ids["example.org"]
  name    = "_sieve._tcp.example.org"
  type    = "SRV"
  ttl     = 3600
  priority = 0
  data = {
    priority = 0
    weight   = 1
    port     = 4190
    target   = "mail.example.org"
  }
}

# recommended: Thunderbird and its like ask there for their settings; a web server there serves what `mailstack clientconfig` writes
resource "cloudflare_dns_record" "autoconfig_example_org_cname" {
  zone_id = var.mail_zone_ids["example.org"]
  name    = "autoconfig.example.org"
  type    = "CNAME"
  ttl     = 3600
  content = "mail.example.org"
  proxied = false
}

# recommended: Outlook asks there for its settings; a web server there serves what `mailstack clientconfig` writes
resource "cloudflare_dns_record" "autodiscover_example_org_cname" {
  zone_id = var.mail_zone_ids["example.org"]
  name    = "autodiscover.example.org"
  type    = "CNAME"
  ttl     = 3600
  content = "mail.example.org"
  proxied = false
}

# required: mail for example.net goes to this host
resource "cloudflare_dns_record" "example_net_mx" {
  zone_id = var.mail_zone_ids["example.net"]
  name    = "example.net"
  type    = "MX"
  ttl     = 3600
  content = "mail.example.org"
  priority = 10
}

# required: nobody but this host may send as example.net
resource "cloudflare_dns_record" "example_net_txt" {
  zone_id = var.mail_zone_ids["example.net"]
  name    = "example.net"
  type    = "TXT"
  ttl     = 3600
  content = "\"v=spf1 mx -all\""
}

# required: what receivers do with forged mail: nothing, as long as your own is not signed (DKIM); large receivers want one, and report to you daily
resource "cloudflare_dns_record" "_dmarc_example_net_txt" {
  zone_id = var.mail_zone_ids["example.net"]
  name    = "_dmarc.example.net"
  type    = "TXT"
  ttl     = 3600
  content = "\"v=DMARC1; p=none; rua=mailto:postmaster@example.net\""
}

# recommended: other servers report to you when TLS to this host fails
resource "cloudflare_dns_record" "_smtp__tls_example_net_txt" {
  zone_id = var.mail_zone_ids["example.net"]
  name    = "_smtp._tls.example.net"
  type    = "TXT"
  ttl     = 3600
  content = "\"v=TLSRPTv1; rua=mailto:postmaster@example.net\""
}

# recommended: other servers send to example.net by TLS only; the id changes with the policy
resource "cloudflare_dns_record" "_mta-sts_example_net_txt" {
  zone_id = var.mail_zone_ids["example.net"]
  name    = "_mta-sts.example.net"
  type    = "TXT"
  ttl     = 3600
  content = "\"v=STSv1; id=0123456789abcdef\""
}

# recommended: where the policy is: a web server there serves what `mailstack clientconfig` writes
resource "cloudflare_dns_record" "mta-sts_example_net_cname" {
  zone_id = var.mail_zone_ids["example.net"]
  name    = "mta-sts.example.net"
  type    = "CNAME"
  ttl     = 3600
  content = "mail.example.org"
  proxied = false
}

# recommended: mail programs find IMAP over TLS
resource "cloudflare_dns_record" "_imaps__tcp_example_net_srv" {
  zone_id = var.mail_zone_ids["example.net"]
  name    = "_imaps._tcp.example.net"
  type    = "SRV"
  ttl     = 3600
  priority = 0
  data = {
    priority = 0
    weight   = 1
    port     = 993
    target   = "mail.example.org"
  }
}

# recommended: mail programs find IMAP with STARTTLS
resource "cloudflare_dns_record" "_imap__tcp_example_net_srv" {
  zone_id = var.mail_zone_ids["example.net"]
  name    = "_imap._tcp.example.net"
  type    = "SRV"
  ttl     = 3600
  priority = 10
  data = {
    priority = 10
    weight   = 1
    port     = 143
    target   = "mail.example.org"
  }
}

# recommended: POP3 over TLS is off: mail programs need not try
resource "cloudflare_dns_record" "_pop3s__tcp_example_net_srv" {
  zone_id = var.mail_zone_ids["example.net"]
  name    = "_pop3s._tcp.example.net"
  type    = "SRV"
  ttl     = 3600
  priority = 0
  data = {
    priority = 0
    weight   = 0
    port     = 0
    target   = "."
  }
}

# recommended: POP3 with STARTTLS is off: mail programs need not try
resource "cloudflare_dns_record" "_pop3__tcp_example_net_srv" {
  zone_id = var.mail_zone_ids["example.net"]
  name    = "_pop3._tcp.example.net"
  type    = "SRV"
  ttl     = 3600
  priority = 0
  data = {
    priority = 0
    weight   = 0
    port     = 0
    target   = "."
  }
}

# recommended: mail programs find sending over TLS
resource "cloudflare_dns_record" "_submissions__tcp_example_net_srv" {
  zone_id = var.mail_zone_ids["example.net"]
  name    = "_submissions._tcp.example.net"
  type    = "SRV"
  ttl     = 3600
  priority = 0
  data = {
    priority = 0
    weight   = 1
    port     = 465
    target   = "mail.example.org"
  }
}

# recommended: mail programs find sending with STARTTLS
resource "cloudflare_dns_record" "_submission__tcp_example_net_srv" {
  zone_id = var.mail_zone_ids["example.net"]
  name    = "_submission._tcp.example.net"
  type    = "SRV"
  ttl     = 3600
  priority = 10
  data = {
    priority = 10
    weight   = 1
    port     = 587
    target   = "mail.example.org"
  }
}

# recommended: mail programs find filters, by ManageSieve
resource "cloudflare_dns_record" "_sieve__tcp_example_net_srv" {
  zone_id = var.mail_zone_ids["example.net"]
  name    = "_sieve._tcp.example.net"
  type    = "SRV"
  ttl     = 3600
  priority = 0
  data = {
    priority = 0
    weight   = 1
    port     = 4190
    target   = "mail.example.org"
  }
}

# recommended: Thunderbird and its like ask there for their settings; a web server there serves what `mailstack clientconfig` writes
resource "cloudflare_dns_record" "autoconfig_example_net_cname" {
  zone_id = var.mail_zone_ids["example.net"]
  name    = "autoconfig.example.net"
  type    = "CNAME"
  ttl     = 3600
  content = "mail.example.org"
  proxied = false
}

# recommended: Outlook asks there for its settings; a web server there serves what `mailstack clientconfig` writes
resource "cloudflare_dns_record" "autodiscover_example_net_cname" {
  zone_id = var.mail_zone_ids["example.net"]
  name    = "autodiscover.example.net"
  type    = "CNAME"
  ttl     = 3600
  content = "mail.example.org"
  proxied = false
}

# e2024._domainkey.example.org: may be removed, nobody needs it any more
# example.net: no DKIM record, as its mail is not signed yet
