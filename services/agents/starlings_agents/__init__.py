"""The agents that come with Starlings: `math`, `string` and `weather`."""
