"""buoy: a public VPN node. It applies only validated instructions and serves on with helm gone."""
