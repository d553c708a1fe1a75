"""Callbacks out, by the Standard Webhooks specification (https://www.standardwebhooks.com).

A scan that ends → `emission` (one event, one delivery per endpoint) → `sender` (claims what is due) → `outbound` (one
POST to a checked address) → `retrying` (delivered, again later, or dead).
"""
