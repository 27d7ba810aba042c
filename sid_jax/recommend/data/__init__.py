"""What a recommender learns from and recommends: IDs, candidates, histories, packed examples."""
