package e2e

// nagiosConfig makes Nagios keep everything in /tmp and count in seconds.
const nagiosConfig = `cfg_file=/contrib/nagios/mailstack.cfg
cfg_file=/conf/objects.cfg
log_file=/tmp/nagios.log
object_cache_file=/tmp/objects.cache
precached_object_file=/tmp/objects.precache
status_file=/tmp/status.dat
status_update_interval=1
command_file=/tmp/nagios.cmd
query_socket=/tmp/nagios.qh
lock_file=/tmp/nagios.pid
temp_file=/tmp/nagios.tmp
temp_path=/tmp
check_result_path=/tmp
state_retention_file=/tmp/retention.dat
retain_state_information=0
interval_length=1
service_inter_check_delay_method=n
use_syslog=0
execute_host_checks=0
enable_notifications=0
illegal_macro_output_chars=` + "`" + `~$&|"<>
`

const nagiosObjects = `
define timeperiod {
  timeperiod_name always
  alias           always
  monday          00:00-24:00
  tuesday         00:00-24:00
  wednesday       00:00-24:00
  thursday        00:00-24:00
  friday          00:00-24:00
  saturday        00:00-24:00
  sunday          00:00-24:00
}
define command {
  command_name tell-nobody
  command_line /bin/true
}
define contact {
  contact_name                  nobody
  host_notification_commands    tell-nobody
  service_notification_commands tell-nobody
}
define host {
  host_name           HOSTNAME
  address             127.0.0.1
  max_check_attempts  1
  check_period        always
  notification_period always
  contacts            nobody
}
define service {
  name                test-service
  host_name           HOSTNAME
  check_interval      15
  retry_interval      15
  max_check_attempts  1
  check_period        always
  notification_period always
  contacts            nobody
  register            0
}
define service {
  use                 test-service,mailstack-last
  service_description last
}
define service {
  use                 test-service
  service_description ports
  check_command       check_mailstack_ports!PORTS!--ca /conf/ca.pem
}
define service {
  use                 test-service
  service_description account
  check_command       check_mailstack_target!PORTS!USER!/tmp/password!--ca /conf/ca.pem
}
`

// icingaConfig comes after the commands that we ship, with their examples.
const icingaConfig = `
include <itl>
include "/contrib/icinga2/mailstack.conf"
include "/conf/examples.conf"
const NodeName = "icinga"
const ZoneName = NodeName
object Endpoint NodeName { }
object Zone ZoneName { endpoints = [ NodeName ] }
object CheckerComponent "checker" { }
object ApiListener "api" {
  bind_host = "127.0.0.1"
  bind_port = API_PORT
}
object ApiUser "test" {
  password = "test"
  permissions = [ "objects/query/Service" ]
}
object Host "HOSTNAME" {
  address = "127.0.0.1"
  check_command = "dummy"
  vars.mailstack = true
}
`
