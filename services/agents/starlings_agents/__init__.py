"""The agents that come with Starlings: `math`, `string`, `weather` and `sensor`."""
