"""Webhooks: events sent to endpoints, by the Standard Webhooks specification (https://www.standardwebhooks.com).

A scan ends → `emission` (one event, one delivery per endpoint) → `sender` (claims what is due) → `post` (one POST to a
checked address) → `backoff` (delivered, later again, or dead).
"""
