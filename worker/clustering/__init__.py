"""Feature sets, k-means and nearest centres: numpy and faiss, nothing of the service."""
