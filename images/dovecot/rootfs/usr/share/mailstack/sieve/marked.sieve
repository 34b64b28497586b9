# What the filter has marked goes to Junk, before the user's own script and instead
# of it: that would send a vacation notice to whoever is named as the sender, and
# forward what others then refuse from us.
require "fileinto";

if header :is "X-Spam" "Yes" {
    fileinto "Junk";
    stop;
}
